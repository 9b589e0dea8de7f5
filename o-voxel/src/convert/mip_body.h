// Mip levels of an 8-bit image: means of decoded values, kept in single precision from level to level.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/device.h"
#include "common/host_device.h"

namespace ovoxel {

// How bytes and values belong together.
struct MipCoding {
    const float* decode;    // [256] value of each byte
    const uint8_t* encode;  // [65536] byte of a value in 65535 steps, or null: rounded value times 255
};

// Texel i of the level above: an area mean onto half the size, at least one texel. Where a side is odd three texels are
// averaged, sharing one with the neighbour.
struct MipBody {
    const uint8_t* bytes;  // the level below, [height, width, channels]; only read for the image itself, else null
    const float* values;   // the same as values
    int64_t height, width;
    int channels;
    MipCoding coding;
    float* outValues;  // [max(1, height / 2), max(1, width / 2), channels]
    uint8_t* outBytes;

    OVOXEL_HD float at(int64_t index) const { return bytes ? coding.decode[bytes[index]] : values[index]; }
    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t outWidth = width > 1 ? width / 2 : 1, y = 2 * (i / outWidth), x = 2 * (i % outWidth);
        const int64_t rows = height == 1 ? 1 : 2 + (height & 1), columns = width == 1 ? 1 : 2 + (width & 1);
        for (int c = 0; c < channels; ++c) {
            float sum = 0;
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t k = 0; k < columns; ++k) sum += at(((y + r) * width + x + k) * channels + c);
            const float mean = sum / static_cast<float>(rows * columns);
            outValues[i * channels + c] = mean;
            outBytes[i * channels + c] =
                coding.encode ? coding.encode[static_cast<int>(mean * 65535.0f + 0.5f)]
                              : static_cast<uint8_t>(std::rint(mean * 255.0f));
        }
    }
};

// Height and width of levels 1, 2, ... of an image.
struct MipShapes {
    std::vector<std::array<size_t, 2>> levels;
    MipShapes(int64_t height, int64_t width) {
        while (height > 1 || width > 1) {
            height = height > 1 ? height / 2 : 1, width = width > 1 ? width / 2 : 1;
            levels.push_back({static_cast<size_t>(height), static_cast<size_t>(width)});
        }
    }
};

// Levels 1, 2, ... down to one texel go to levels[0], levels[1], ...; values: two buffers for the largest of them.
template <class Run>
void makeMipLevels(const uint8_t* image, int64_t height, int64_t width, int channels, const MipCoding& coding,
                   uint8_t* const* levels, float* const values[2], Run&& run) {
    for (int level = 0; height > 1 || width > 1; ++level) {
        const int64_t h = height > 1 ? height / 2 : 1, w = width > 1 ? width / 2 : 1;
        run(MipBody{level == 0 ? image : nullptr, values[(level + 1) & 1], height, width, channels, coding,
                    values[level & 1], levels[level]},
            h * w);
        height = h, width = w;
    }
}

void makeMipLevelsOnDevice(Workspace& workspace, const uint8_t* image, int64_t height, int64_t width, int channels,
                           const MipCoding& coding, uint8_t* const* levels);

}  // namespace ovoxel
