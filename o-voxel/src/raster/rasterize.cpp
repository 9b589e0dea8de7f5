// Three passes: set-up of triangles (parallel over triangles), binning into tiles, drawing (parallel over tiles).
#include "raster/rasterize.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "common/parallel.h"
#include "raster/clip.h"

namespace ovoxel {
namespace {

constexpr int kSubpixelBits = 8;
constexpr int64_t kSubpixels = int64_t{1} << kSubpixelBits;
constexpr double kGuardPixels = 1 << 20;  // snapped coordinates stay below 2^29, edge functions below 2^61
constexpr int kTile = 64;
constexpr int64_t kSetupGrain = 8192;

// A triangle ready to draw: snapped counter-clockwise corners and its depth plane.
struct SetupTriangle {
    int32_t x[3], y[3];       // subpixels
    int32_t index;
    float zMin, zMax;         // range of z/w over the (clipped) corners
    double z0, dzdx, dzdy;    // z/w at the reference pixel and its slope per pixel
    double refX, refY;        // reference position in pixels (sample coordinates)
};

struct PixelBox {
    int32_t x0, y0, x1, y1;  // inclusive; empty if x1 < x0 or y1 < y0
};

// Pixels whose centres can lie inside; centres are at 256 k + 128 subpixels.
PixelBox pixelBox(const SetupTriangle& t, int32_t width, int32_t height) {
    const auto first = [](int32_t lo) { return (lo - 128 + 255) >> kSubpixelBits; };
    const auto last = [](int32_t hi) { return (hi - 128) >> kSubpixelBits; };
    return {std::max(0, first(std::min({t.x[0], t.x[1], t.x[2]}))), std::max(0, first(std::min({t.y[0], t.y[1], t.y[2]}))),
            std::min(width - 1, last(std::max({t.x[0], t.x[1], t.x[2]}))),
            std::min(height - 1, last(std::max({t.y[0], t.y[1], t.y[2]})))};
}

struct Viewport {
    double scaleX, scaleY;  // pixels per NDC unit
    double guardX, guardY;  // guard band in NDC units
};

bool loadTriangle(const RasterInput& in, int64_t f, ClipVertex (&v)[3]) {
    for (int k = 0; k < 3; ++k) {
        const int32_t i = in.tri[3 * f + k];
        if (i < 0 || i >= in.numVertices) return false;
        const float* p = in.pos + 4 * static_cast<int64_t>(i);
        if (!(std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]) && std::isfinite(p[3]))) return false;
        v[k] = {p[0], p[1], p[2], p[3]};
    }
    return true;
}

// True if the triangle lies wholly outside one side of the view volume.
bool outside(const ClipVertex (&v)[3]) {
    const auto all = [&](auto&& test) { return test(v[0]) && test(v[1]) && test(v[2]); };
    return all([](const ClipVertex& p) { return p.x > p.w; }) || all([](const ClipVertex& p) { return p.x < -p.w; }) ||
           all([](const ClipVertex& p) { return p.y > p.w; }) || all([](const ClipVertex& p) { return p.y < -p.w; }) ||
           all([](const ClipVertex& p) { return p.z > p.w; }) || all([](const ClipVertex& p) { return p.z < -p.w; }) ||
           all([](const ClipVertex& p) { return p.w <= 0; });
}

// Depth plane of the unsnapped triangle: z/w is affine over the screen, sum z_i a_i / sum w_i a_i. The edge functions
// a_i are taken relative to (nx, ny), a point on the triangle, which keeps small triangles far from the origin exact.
bool depthPlane(const ClipVertex (&v)[3], double nx, double ny, const Viewport& view, SetupTriangle& t) {
    double x[3], y[3];
    for (int k = 0; k < 3; ++k) {
        x[k] = v[k].x - nx * v[k].w;
        y[k] = v[k].y - ny * v[k].w;
    }
    double value = 0, slopeX = 0, slopeY = 0, det = 0;
    for (int k = 0; k < 3; ++k) {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        const double a = x[i] * y[j] - x[j] * y[i];
        value += v[k].z * a;
        det += v[k].w * a;
        slopeX += v[k].z * (v[j].w * y[i] - v[i].w * y[j]);
        slopeY += v[k].z * (x[j] * v[i].w - x[i] * v[j].w);
    }
    if (det == 0 || !std::isfinite(det)) return false;
    t.z0 = value / det;
    t.dzdx = slopeX / det / view.scaleX;
    t.dzdy = slopeY / det / view.scaleY;
    t.refX = (nx + 1) * view.scaleX;
    t.refY = (ny + 1) * view.scaleY;
    return std::isfinite(t.z0) && std::isfinite(t.dzdx) && std::isfinite(t.dzdy);
}

void setupTriangle(const RasterInput& in, int64_t f, const Viewport& view, std::vector<SetupTriangle>& out) {
    ClipVertex v[3];
    if (!loadTriangle(in, f, v) || outside(v)) return;
    std::array<ClipVertex, kMaxClipVertices> polygon;
    std::copy(v, v + 3, polygon.begin());
    int count = 3;
    bool needsClip = false;
    for (const ClipVertex& p : v)
        for (int plane = 0; plane < kClipPlanes; ++plane)
            needsClip |= planeDistance(p, plane, view.guardX, view.guardY) < 0;
    if (needsClip) count = clipPolygon(polygon, 3, view.guardX, view.guardY);
    if (count < 3) return;

    int32_t x[kMaxClipVertices], y[kMaxClipVertices];
    SetupTriangle t;
    t.index = static_cast<int32_t>(f);
    double zMin = 1, zMax = -1, refX = 0, refY = 0;
    for (int k = 0; k < count; ++k) {
        // Corners cut from values many orders of magnitude apart can miss their plane by rounding; bounding them keeps
        // every conversion defined, and is the same for all triangles at the corner.
        const double w = std::max(polygon[k].w, kMinW);
        const double nx = std::min(view.guardX, std::max(-view.guardX, polygon[k].x / w));
        const double ny = std::min(view.guardY, std::max(-view.guardY, polygon[k].y / w));
        const double nz = std::min(1.0, std::max(-1.0, polygon[k].z / w));
        if (k == 0) {
            refX = nx;
            refY = ny;
        }
        x[k] = static_cast<int32_t>(std::floor((nx + 1) * view.scaleX * kSubpixels + 0.5));
        y[k] = static_cast<int32_t>(std::floor((ny + 1) * view.scaleY * kSubpixels + 0.5));
        zMin = std::min(zMin, nz);
        zMax = std::max(zMax, nz);
    }
    t.zMin = static_cast<float>(zMin);
    t.zMax = static_cast<float>(zMax);
    bool planeReady = false;
    for (int k = 2; k < count; ++k) {
        const int corner[3] = {0, k - 1, k};
        for (int c = 0; c < 3; ++c) {
            t.x[c] = x[corner[c]];
            t.y[c] = y[corner[c]];
        }
        const int64_t area = (static_cast<int64_t>(t.x[1]) - t.x[0]) * (static_cast<int64_t>(t.y[2]) - t.y[0]) -
                             (static_cast<int64_t>(t.x[2]) - t.x[0]) * (static_cast<int64_t>(t.y[1]) - t.y[0]);
        if (area == 0) continue;
        if (area < 0) {
            std::swap(t.x[1], t.x[2]);
            std::swap(t.y[1], t.y[2]);
        }
        const PixelBox box = pixelBox(t, in.width, in.height);
        if (box.x1 < box.x0 || box.y1 < box.y0) continue;
        if (!planeReady) {
            if (!depthPlane(v, refX, refY, view, t)) return;
            planeReady = true;
        }
        out.push_back(t);
    }
}

// Draws one triangle into a tile's depth and index buffers, pixels [x0, x1] x [y0, y1] inclusive.
void drawInTile(const SetupTriangle& t, const PixelBox& box, int32_t tileX, int32_t tileY, const RasterInput& in,
                float* depth, int32_t* index) {
    int64_t stepX[3], stepY[3], row[3];
    for (int k = 0; k < 3; ++k) {
        const int n = k == 2 ? 0 : k + 1;
        const int64_t dx = static_cast<int64_t>(t.x[n]) - t.x[k], dy = static_cast<int64_t>(t.y[n]) - t.y[k];
        const int64_t px = static_cast<int64_t>(box.x0) * kSubpixels + kSubpixels / 2 - t.x[k];
        const int64_t py = static_cast<int64_t>(box.y0) * kSubpixels + kSubpixels / 2 - t.y[k];
        const bool inclusive = dy < 0 || (dy == 0 && dx > 0);
        row[k] = dx * py - dy * px - (inclusive ? 0 : 1);  // covered where all three are >= 0
        stepX[k] = -dy * kSubpixels;
        stepY[k] = dx * kSubpixels;
    }
    for (int32_t py = box.y0; py <= box.y1; ++py) {
        int64_t e0 = row[0], e1 = row[1], e2 = row[2];
        const double zRow = t.z0 + t.dzdy * (py + 0.5 - t.refY);
        const int64_t local = static_cast<int64_t>(py - tileY) * kTile - tileX;
        const float* peelRow = in.peel ? in.peel + static_cast<int64_t>(py) * in.width : nullptr;
        bool entered = false;
        for (int32_t px = box.x0; px <= box.x1; ++px, e0 += stepX[0], e1 += stepX[1], e2 += stepX[2]) {
            if ((e0 | e1 | e2) < 0) {
                if (entered) break;
                continue;
            }
            entered = true;
            const double plane = zRow + t.dzdx * (px + 0.5 - t.refX);
            const float z = std::min(std::max(static_cast<float>(plane), t.zMin), t.zMax);
            if (peelRow && !(z > peelRow[px])) continue;
            float& best = depth[local + px];
            int32_t& owner = index[local + px];
            if (z < best || (z == best && t.index > owner)) {
                best = z;
                owner = t.index;
            }
        }
        for (int k = 0; k < 3; ++k) row[k] += stepY[k];
    }
}

// (u, v, z/w, index + 1) of a covered pixel.
void resolvePixel(const RasterInput& in, int32_t f, int32_t px, int32_t py, float z, float* out) {
    const double nx = (2.0 * px + 1) / in.width - 1, ny = (2.0 * py + 1) / in.height - 1;
    double x[3], y[3];
    for (int k = 0; k < 3; ++k) {
        const float* p = in.pos + 4 * static_cast<int64_t>(in.tri[3 * static_cast<int64_t>(f) + k]);
        x[k] = p[0] - nx * p[3];
        y[k] = p[1] - ny * p[3];
    }
    const double a0 = x[1] * y[2] - x[2] * y[1], a1 = x[2] * y[0] - x[0] * y[2], a2 = x[0] * y[1] - x[1] * y[0];
    const double sum = a0 + a1 + a2;
    double u = a0 / sum, v = a1 / sum;
    if (!std::isfinite(u) || !std::isfinite(v)) u = v = 1.0 / 3;
    u = std::min(1.0, std::max(0.0, u));
    v = std::min(1.0, std::max(0.0, v));
    if (u + v > 1) {
        const double scale = 1 / (u + v);
        u *= scale;
        v *= scale;
    }
    out[0] = static_cast<float>(u);
    out[1] = static_cast<float>(v);
    out[2] = z;
    // Ids past 2^24 continue as the floats of consecutive bit patterns (0x4a800000 + id).
    const uint32_t id = static_cast<uint32_t>(f) + 1;
    if (id <= (1u << 24)) {
        out[3] = static_cast<float>(id);
    } else {
        const uint32_t bits = 0x4a800000u + id;
        std::memcpy(out + 3, &bits, sizeof bits);
    }
}

}  // namespace

void rasterizeTriangles(const RasterInput& in, float* out) {
    const int64_t pixels = static_cast<int64_t>(in.height) * in.width;
    if (pixels == 0) return;
    const Viewport view{in.width / 2.0, in.height / 2.0, 1 + 2 * kGuardPixels / in.width, 1 + 2 * kGuardPixels / in.height};

    // 1. Set-up, in chunks so that the order (and so memory) does not depend on timing.
    const int64_t numChunks = (in.numTriangles + kSetupGrain - 1) / kSetupGrain;
    std::vector<std::vector<SetupTriangle>> chunks(numChunks);
    parallelFor(numChunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
            const int64_t last = std::min(in.numTriangles, (c + 1) * kSetupGrain);
            chunks[c].reserve(static_cast<size_t>(last - c * kSetupGrain));
            for (int64_t f = c * kSetupGrain; f < last; ++f) setupTriangle(in, f, view, chunks[c]);
        }
    });

    // 2. Binning: count, prefix sum, fill.
    const int32_t tilesX = (in.width + kTile - 1) / kTile, tilesY = (in.height + kTile - 1) / kTile;
    const int64_t numTiles = static_cast<int64_t>(tilesX) * tilesY;
    const std::unique_ptr<std::atomic<int64_t>[]> cursor(new std::atomic<int64_t>[numTiles]());
    const auto forEachTile = [&](int64_t begin, int64_t end, auto&& visit) {
        for (int64_t c = begin; c < end; ++c)
            for (const SetupTriangle& t : chunks[c]) {
                const PixelBox box = pixelBox(t, in.width, in.height);
                for (int32_t ty = box.y0 / kTile; ty <= box.y1 / kTile; ++ty)
                    for (int32_t tx = box.x0 / kTile; tx <= box.x1 / kTile; ++tx)
                        visit(static_cast<int64_t>(ty) * tilesX + tx, t);
            }
    };
    parallelFor(numChunks, 1, [&](int64_t begin, int64_t end) {
        forEachTile(begin, end, [&](int64_t tile, const SetupTriangle&) {
            cursor[tile].fetch_add(1, std::memory_order_relaxed);
        });
    });
    std::vector<int64_t> start(numTiles + 1, 0);
    for (int64_t i = 0; i < numTiles; ++i) {
        start[i + 1] = start[i] + cursor[i].load();
        cursor[i].store(start[i]);
    }
    std::vector<const SetupTriangle*> bins(start[numTiles]);
    parallelFor(numChunks, 1, [&](int64_t begin, int64_t end) {
        forEachTile(begin, end, [&](int64_t tile, const SetupTriangle& t) {
            bins[cursor[tile].fetch_add(1, std::memory_order_relaxed)] = &t;
        });
    });

    // 3. Drawing; the winner at a pixel does not depend on the order in a bin.
    parallelFor(numTiles, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> depth(kTile * kTile);
        std::vector<int32_t> index(kTile * kTile);
        for (int64_t tile = begin; tile < end; ++tile) {
            const int32_t tileX = static_cast<int32_t>(tile % tilesX) * kTile;
            const int32_t tileY = static_cast<int32_t>(tile / tilesX) * kTile;
            const int32_t endX = std::min(in.width, tileX + kTile), endY = std::min(in.height, tileY + kTile);
            std::fill(depth.begin(), depth.end(), std::numeric_limits<float>::infinity());
            std::fill(index.begin(), index.end(), -1);
            for (int64_t i = start[tile]; i < start[tile + 1]; ++i) {
                const SetupTriangle& t = *bins[i];
                PixelBox box = pixelBox(t, in.width, in.height);
                box = {std::max(box.x0, tileX), std::max(box.y0, tileY), std::min(box.x1, endX - 1),
                       std::min(box.y1, endY - 1)};
                drawInTile(t, box, tileX, tileY, in, depth.data(), index.data());
            }
            for (int32_t py = tileY; py < endY; ++py)
                for (int32_t px = tileX; px < endX; ++px) {
                    const int64_t local = static_cast<int64_t>(py - tileY) * kTile + px - tileX;
                    float* pixel = out + 4 * (static_cast<int64_t>(py) * in.width + px);
                    if (index[local] >= 0)
                        resolvePixel(in, index[local], px, py, depth[local], pixel);
                    else
                        std::fill(pixel, pixel + 4, 0.0f);
                }
        }
    });
}

}  // namespace ovoxel
