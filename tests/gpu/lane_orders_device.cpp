#include "tests/gpu/lane_orders.h"

namespace greenroom::gpu::test {

std::vector<std::string> lane_orders() { return {"device"}; }

void use_lane_order(const std::string& /*order*/) {}

}  // namespace greenroom::gpu::test
