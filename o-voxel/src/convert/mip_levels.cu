#include "common/launch.h"
#include "convert/mip_body.h"

namespace ovoxel {

void makeMipLevelsOnDevice(Workspace& workspace, const uint8_t* image, int64_t height, int64_t width, int channels,
                           const MipCoding& coding, uint8_t* const* levels) {
    const int64_t largest = ((height + 1) / 2) * ((width + 1) / 2) * channels;
    float* const values[2] = {workspace.allocate<float>(largest), workspace.allocate<float>(largest)};
    makeMipLevels(image, height, width, channels, coding, levels, values,
                  [&](const MipBody& body, int64_t n) { launchFor(workspace, n, body, "mip level"); });
    workspace.release(values[0]);
    workspace.release(values[1]);
}

}  // namespace ovoxel
