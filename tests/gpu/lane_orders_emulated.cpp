#include "tests/gpu/emulation/control.h"
#include "tests/gpu/lane_orders.h"

namespace greenroom::gpu::test {

std::vector<std::string> lane_orders() { return {"forward", "backward", "shuffled"}; }

void use_lane_order(const std::string& order) {
    emulation::reset();
    emulation::set_lane_order(order == "forward"    ? emulation::LaneOrder::forward
                              : order == "backward" ? emulation::LaneOrder::backward
                                                    : emulation::LaneOrder::shuffled);
}

}  // namespace greenroom::gpu::test
