#include "gpu/launch_check.h"

#include "quant/base/error.h"

namespace greenroom::gpu {

void launch_check_failed(const char* file, int line, const char* condition) {
    fail(ErrorKind::internal, "{}:{}: internal check failed: {}", file, line, condition);
}

}  // namespace greenroom::gpu
