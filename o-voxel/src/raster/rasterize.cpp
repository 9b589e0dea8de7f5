// Three passes: set-up of triangles (parallel over triangles), binning into tiles, drawing (parallel over tiles).
#include "raster/rasterize.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "common/parallel.h"
#include "raster/barycentric_grad.h"
#include "raster/face_scatter.h"
#include "raster/fragment.h"
#include "raster/setup.h"

namespace ovoxel {
namespace {

constexpr int kTile = 64;
constexpr int64_t kSetupGrain = 8192;

struct SetupTriangle {
    ScreenTriangle corners;
    DepthPlane plane;
    int32_t index;
};

struct Image {  // one item of the batch
    const Corner* pos;
    TriangleRange triangles;
    const float* peel;
    float* rast;
    float* db;
};

void setupTriangle(const RasterInput& in, const Corner* pos, int32_t f, const Viewport& view,
                   std::vector<SetupTriangle>& out) {
    Corner corners[3];
    if (!loadCorners(pos, in.numVertices, in.tri + 3 * static_cast<int64_t>(f), corners) || outside(corners)) return;
    ScreenPolygon polygon;
    if (!makePolygon(corners, view, polygon)) return;
    for (int k = 2; k < polygon.count; ++k) {
        SetupTriangle t;
        if (!fanTriangle(polygon, k, t.corners) || pixelBox(t.corners, view).empty()) continue;
        t.plane = polygon.plane;
        t.index = f;
        out.push_back(t);
    }
}

// Draws one triangle into a tile's keys, pixels of `box` only.
void drawInTile(const SetupTriangle& t, const PixelBox& box, int32_t tileX, int32_t tileY, int32_t width,
                const float* peel, uint64_t* keys) {
    EdgeWalk row(t.corners, box.x0, box.y0);
    for (int32_t py = box.y0; py <= box.y1; ++py) {
        int64_t e0 = row.value[0], e1 = row.value[1], e2 = row.value[2];
        const int64_t local = static_cast<int64_t>(py - tileY) * kTile - tileX;
        const float* peelRow = peel ? peel + static_cast<int64_t>(py) * width : nullptr;
        bool entered = false;
        for (int32_t px = box.x0; px <= box.x1; ++px, e0 += row.stepX[0], e1 += row.stepX[1], e2 += row.stepX[2]) {
            if ((e0 | e1 | e2) < 0) {
                if (entered) break;
                continue;
            }
            entered = true;
            const float z = depthAt(t.plane, px, py);
            if (peelRow && !(z > peelRow[px])) continue;
            keys[local + px] = std::min(keys[local + px], fragmentKey(z, t.index));
        }
        for (int k = 0; k < 3; ++k) row.value[k] += row.stepY[k];
    }
}

void writePixel(const RasterInput& in, const Image& image, const Viewport& view, int32_t px, int32_t py, uint64_t key) {
    const int64_t pixel = static_cast<int64_t>(py) * in.width + px;
    float* rast = image.rast + 4 * pixel;
    float* db = image.db ? image.db + 4 * pixel : nullptr;
    if (key == kEmptyKey) {
        std::fill(rast, rast + 4, 0.0f);
        if (db) std::fill(db, db + 4, 0.0f);
        return;
    }
    ClipVertex v[3];
    if (!loadCorners(image.pos, in.numVertices, in.tri + 3 * static_cast<int64_t>(keyIndex(key)), v)) return;
    const EdgeValues e(v, PixelCentre(px, py, view));
    resolvePixel(e, keyDepth(key), keyIndex(key), rast);
    if (db) resolveDerivatives(e, v, view, db);
}

void drawImage(const RasterInput& in, const Image& image) {
    const Viewport view(in.height, in.width);

    // 1. Set-up, in chunks so that the order (and so memory) does not depend on timing.
    const int64_t begin = image.triangles.first, end = begin + image.triangles.count;
    const int64_t numChunks = (end - begin + kSetupGrain - 1) / kSetupGrain;
    std::vector<std::vector<SetupTriangle>> chunks(numChunks);
    parallelFor(numChunks, 1, [&](int64_t firstChunk, int64_t lastChunk) {
        for (int64_t c = firstChunk; c < lastChunk; ++c) {
            const int64_t first = begin + c * kSetupGrain, last = std::min(end, first + kSetupGrain);
            chunks[c].reserve(static_cast<size_t>(last - first));
            for (int64_t f = first; f < last; ++f)
                setupTriangle(in, image.pos, static_cast<int32_t>(f), view, chunks[c]);
        }
    });

    // 2. Binning: count, prefix sum, fill.
    const int32_t tilesX = (in.width + kTile - 1) / kTile, tilesY = (in.height + kTile - 1) / kTile;
    const int64_t numTiles = static_cast<int64_t>(tilesX) * tilesY;
    const std::unique_ptr<std::atomic<int64_t>[]> cursor(new std::atomic<int64_t>[numTiles]());
    const auto forEachTile = [&](int64_t firstChunk, int64_t lastChunk, auto&& visit) {
        for (int64_t c = firstChunk; c < lastChunk; ++c)
            for (const SetupTriangle& t : chunks[c]) {
                const PixelBox box = pixelBox(t.corners, view);
                for (int32_t ty = box.y0 / kTile; ty <= box.y1 / kTile; ++ty)
                    for (int32_t tx = box.x0 / kTile; tx <= box.x1 / kTile; ++tx)
                        visit(static_cast<int64_t>(ty) * tilesX + tx, t);
            }
    };
    parallelFor(numChunks, 1, [&](int64_t firstChunk, int64_t lastChunk) {
        forEachTile(firstChunk, lastChunk, [&](int64_t tile, const SetupTriangle&) {
            cursor[tile].fetch_add(1, std::memory_order_relaxed);
        });
    });
    std::vector<int64_t> start(numTiles + 1, 0);
    for (int64_t i = 0; i < numTiles; ++i) {
        start[i + 1] = start[i] + cursor[i].load();
        cursor[i].store(start[i]);
    }
    std::vector<const SetupTriangle*> bins(start[numTiles]);
    parallelFor(numChunks, 1, [&](int64_t firstChunk, int64_t lastChunk) {
        forEachTile(firstChunk, lastChunk, [&](int64_t tile, const SetupTriangle& t) {
            bins[cursor[tile].fetch_add(1, std::memory_order_relaxed)] = &t;
        });
    });

    // 3. Drawing; the winner at a pixel does not depend on the order in a bin.
    parallelFor(numTiles, 1, [&](int64_t firstTile, int64_t lastTile) {
        std::vector<uint64_t> keys(kTile * kTile);
        for (int64_t tile = firstTile; tile < lastTile; ++tile) {
            const int32_t tileX = static_cast<int32_t>(tile % tilesX) * kTile;
            const int32_t tileY = static_cast<int32_t>(tile / tilesX) * kTile;
            const int32_t endX = std::min(in.width, tileX + kTile), endY = std::min(in.height, tileY + kTile);
            std::fill(keys.begin(), keys.end(), kEmptyKey);
            for (int64_t i = start[tile]; i < start[tile + 1]; ++i) {
                const SetupTriangle& t = *bins[i];
                PixelBox box = pixelBox(t.corners, view);
                box = {std::max(box.x0, tileX), std::max(box.y0, tileY), std::min(box.x1, endX - 1),
                       std::min(box.y1, endY - 1)};
                drawInTile(t, box, tileX, tileY, in.width, image.peel, keys.data());
            }
            for (int32_t py = tileY; py < endY; ++py)
                for (int32_t px = tileX; px < endX; ++px)
                    writePixel(in, image, view, px, py, keys[static_cast<int64_t>(py - tileY) * kTile + px - tileX]);
        }
    });
}

}  // namespace

void rasterizeOnHost(const RasterInput& in, float* rast, float* db) {
    const int64_t pixels = static_cast<int64_t>(in.height) * in.width;
    for (int64_t b = 0; b < in.batch && pixels; ++b)
        drawImage(in, {in.corners(b), rangeOf(in, b), in.peel ? in.peel + b * pixels : nullptr,
                       rast + b * pixels * 4, db ? db + b * pixels * 4 : nullptr});
}

void rasterizeGradOnHost(const RasterInput& in, const float* rast, const float* gradRast, const float* gradDb,
                         float* gradPos) {
    const Viewport view(in.height, in.width);
    const int64_t pixels = static_cast<int64_t>(in.height) * in.width;
    for (int64_t b = 0; b < in.batch && pixels; ++b) {
        const Corner* pos = in.corners(b);
        const int64_t base = b * pixels;
        scatterToCorners(rast + 4 * base, pixels, in.tri, in.numTriangles, in.numVertices, 4,
                         gradPos + (in.posShared ? 0 : b * in.numVertices * 4), [&](int64_t pixel, int64_t face, double* corners) {
                             ClipVertex v[3];
                             if (!loadCorners(pos, in.numVertices, in.tri + 3 * face, v)) return;
                             const int64_t at = 4 * (base + pixel);
                             barycentricGrad(v, static_cast<int32_t>(pixel % in.width),
                                             static_cast<int32_t>(pixel / in.width), view,
                                             gradRast ? gradRast + at : nullptr, gradDb ? gradDb + at : nullptr, corners);
                         });
    }
}

}  // namespace ovoxel
