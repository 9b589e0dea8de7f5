// Four kernels: triangles of a few pixels are drawn by their own thread, the rest are listed, cut into tiles and drawn
// by warps, and a last pass turns the winner of each pixel into (u, v, z/w, id). A pixel's winner is the minimum of
// 64-bit keys (depth, index), so the picture does not depend on the order of drawing.
#include "common/launch.h"
#include "raster/barycentric_grad.h"
#include "raster/fragment.h"
#include "raster/rasterize.h"
#include "raster/setup.h"
#include "raster/warp_sum.h"

namespace ovoxel {
namespace {

constexpr int32_t kSmallBox = 256;            // pixels of a bounding box that one thread walks
constexpr int32_t kTile = 32;                 // pixels a side of what a warp draws at a time
constexpr int64_t kChunk = (int64_t{1} << 24) - 1;  // triangles of a launch: entries are 24 bits of a packed counter
constexpr int kTileBits = 40;

struct Counters {
    unsigned int listed;        // triangles left for the warps
    unsigned long long packed;  // entries << kTileBits | tiles
};

struct Entry {
    int64_t firstTile;
    uint32_t item;
    uint32_t tilesX;
};

struct Drawing {
    RasterInput in;  // tri, numTriangles, peel: of the range that is drawn
    Viewport view;
    int64_t first;       // (batch item, triangle) pairs, flattened: of this launch
    int64_t firstIndex;  // of the range, in the whole index buffer
    unsigned long long* keys;
    uint32_t* list;
    Entry* entries;
    Counters* counters;

    __device__ int64_t batchOf(int64_t pair) const { return in.batch == 1 ? 0 : pair / in.numTriangles; }

    __device__ int32_t indexOf(int64_t pair, int64_t b) const {
        return static_cast<int32_t>(firstIndex + pair - b * in.numTriangles);
    }

    __device__ bool load(int64_t pair, int64_t b, Corner (&v)[3]) const {
        const int64_t f = pair - b * in.numTriangles;
        return loadCorners(in.corners(b), in.numVertices, in.tri + 3 * f, v) && !outside(v);
    }

    __device__ void draw(int64_t b, int32_t index, const DepthPlane& plane, int32_t px, int32_t py) const {
        const int64_t pixel = (b * in.height + py) * in.width + px;
        const float z = depthAt(plane, px, py);
        if (in.peel && !(z > in.peel[pixel])) return;
        // Reading the key first, to spare the losers their atomic, waits longer than it saves (1.3 to 2 times).
        atomicMin(keys + pixel, static_cast<unsigned long long>(fragmentKey(z, index)));
    }
};

// One thread a triangle: drops it, draws it if it is small and inside the view volume, else lists it.
__global__ void __launch_bounds__(128) drawSmallKernel(Drawing d, uint32_t count) {
    const uint32_t item = blockIdx.x * 128 + threadIdx.x;
    if (item >= count) return;
    const int64_t pair = d.first + item, b = d.batchOf(pair);
    Corner corners[3];
    if (!d.load(pair, b, corners)) return;
    if (surelyWhole(corners)) {
        ClipVertex v[3];
        toDouble(corners, v);
        ScreenTriangle t;
        DepthPlane plane;
        double nx = 0, ny = 0, zMin = 1, zMax = -1;
        for (int k = 0; k < 3; ++k) {
            const SnappedCorner c = snapCorner(v[k], d.view);
            if (k == 0) {
                nx = c.nx;
                ny = c.ny;
            }
            t.x[k] = c.x;
            t.y[k] = c.y;
            zMin = smaller(zMin, c.nz);
            zMax = larger(zMax, c.nz);
        }
        const PixelBox box = pixelBox(t, d.view);
        if (box.empty() || !orient(t)) return;
        if (static_cast<int64_t>(box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1) <= kSmallBox) {
            plane.zMin = static_cast<float>(zMin);
            plane.zMax = static_cast<float>(zMax);
            bool ready = false;
            EdgeWalk row(t, box.x0, box.y0);
            for (int32_t py = box.y0; py <= box.y1; ++py) {
                int64_t e0 = row.value[0], e1 = row.value[1], e2 = row.value[2];
                for (int32_t px = box.x0; px <= box.x1; ++px) {
                    if ((e0 | e1 | e2) >= 0) {
                        if (!ready && !depthPlane(v, nx, ny, d.view, plane)) return;
                        ready = true;
                        d.draw(b, d.indexOf(pair, b), plane, px, py);
                    }
                    e0 += row.stepX[0];
                    e1 += row.stepX[1];
                    e2 += row.stepX[2];
                }
                for (int k = 0; k < 3; ++k) row.value[k] += row.stepY[k];
            }
            return;
        }
    }
    d.list[atomicAdd(&d.counters->listed, 1u)] = item;
}

__device__ PixelBox polygonBox(const ScreenPolygon& p, const Viewport& view) {
    int32_t xLow = p.x[0], xHigh = p.x[0], yLow = p.y[0], yHigh = p.y[0];
    for (int k = 1; k < p.count; ++k) {
        xLow = smaller(xLow, p.x[k]);
        xHigh = larger(xHigh, p.x[k]);
        yLow = smaller(yLow, p.y[k]);
        yHigh = larger(yHigh, p.y[k]);
    }
    return pixelBox(xLow, xHigh, yLow, yHigh, view);
}

// One thread a listed triangle: reserves the tiles of its bounding box. A warp takes places and first tiles for its
// lanes by one atomic add, so the entries are sorted by first tile.
__global__ void __launch_bounds__(128) reserveTilesKernel(Drawing d) {
    const uint32_t listed = d.counters->listed, lane = threadIdx.x % 32;
    for (uint32_t base = (blockIdx.x * 128 + threadIdx.x) - lane; base < listed; base += gridDim.x * 128) {
        unsigned long long wanted = 0;  // entries << kTileBits | tiles
        uint32_t item = 0, tilesX = 0;
        if (base + lane < listed) {
            item = d.list[base + lane];
            const int64_t pair = d.first + item;
            Corner corners[3];
            ScreenPolygon polygon;
            if (d.load(pair, d.batchOf(pair), corners) && makePolygon(corners, d.view, polygon)) {
                const PixelBox box = polygonBox(polygon, d.view);
                if (!box.empty()) {
                    tilesX = (box.x1 - box.x0) / kTile + 1;
                    const uint32_t tilesY = (box.y1 - box.y0) / kTile + 1;
                    wanted = (1ull << kTileBits) + static_cast<unsigned long long>(tilesX) * tilesY;
                }
            }
        }
        unsigned long long through = wanted;  // sum over the lanes up to this one
        for (int step = 1; step < 32; step *= 2) {
            const unsigned long long below = __shfl_up_sync(0xffffffffu, through, step);
            if (lane >= static_cast<uint32_t>(step)) through += below;
        }
        unsigned long long first = 0;
        if (lane == 31) first = atomicAdd(&d.counters->packed, through);
        first = __shfl_sync(0xffffffffu, first, 31) + through - wanted;
        if (wanted) d.entries[first >> kTileBits] = {static_cast<int64_t>(first & ((1ull << kTileBits) - 1)), item, tilesX};
    }
}

// True if some edge function is negative at all four corners of the pixels [x0, x1] x [y0, y1], relative to the walk.
__device__ bool missesBox(const EdgeWalk& e, int32_t dx, int32_t dy) {
    for (int k = 0; k < 3; ++k)
        if (e.value[k] + larger<int64_t>(0, e.stepX[k] * dx) + larger<int64_t>(0, e.stepY[k] * dy) < 0) return true;
    return false;
}

// One warp a tile of a large or clipped triangle; a warp takes runs of tiles, which mostly belong to one triangle.
__global__ void __launch_bounds__(128) drawTilesKernel(Drawing d) {
    const unsigned long long packed = d.counters->packed;
    const int64_t numEntries = static_cast<int64_t>(packed >> kTileBits);
    const int64_t numTiles = static_cast<int64_t>(packed & ((1ull << kTileBits) - 1));
    const int64_t warps = int64_t{4} * gridDim.x, warp = int64_t{4} * blockIdx.x + threadIdx.x / 32;
    const int32_t lane = threadIdx.x % 32;
    const int64_t run = smaller<int64_t>(32, numTiles / (4 * warps) + 1);
    for (int64_t begin = warp * run; begin < numTiles; begin += warps * run) {
        int64_t low = 0, high = numEntries - 1;  // the last entry with firstTile <= begin
        while (low < high) {
            const int64_t middle = (low + high + 1) / 2;
            if (d.entries[middle].firstTile <= begin)
                low = middle;
            else
                high = middle - 1;
        }
        const int64_t end = smaller(numTiles, begin + run);
        for (int64_t tile = begin; tile < end; ++low) {
            const Entry entry = d.entries[low];
            const int64_t next = low + 1 < numEntries ? d.entries[low + 1].firstTile : numTiles;
            const int64_t stop = smaller(end, next);
            const int64_t pair = d.first + entry.item, b = d.batchOf(pair);
            const int32_t index = d.indexOf(pair, b);
            Corner corners[3];
            d.load(pair, b, corners);
            ScreenPolygon polygon;
            makePolygon(corners, d.view, polygon);
            const PixelBox whole = polygonBox(polygon, d.view);
            for (; tile < stop; ++tile) {
                const auto local = static_cast<uint32_t>(tile - entry.firstTile);
                const int32_t x0 = whole.x0 + static_cast<int32_t>(local % entry.tilesX) * kTile;
                const int32_t y0 = whole.y0 + static_cast<int32_t>(local / entry.tilesX) * kTile;
                const int32_t w = smaller(kTile, whole.x1 - x0 + 1), h = smaller(kTile, whole.y1 - y0 + 1);
                for (int k = 2; k < polygon.count; ++k) {
                    ScreenTriangle t;
                    if (!fanTriangle(polygon, k, t)) continue;
                    const EdgeWalk e(t, x0, y0);
                    if (missesBox(e, w - 1, h - 1)) continue;
                    // The warp covers `rows` whole rows at a time.
                    const int32_t rows = 32 / w, x = lane % w;
                    int32_t y = lane / w;
                    if (y >= rows) continue;
                    int64_t e0 = e.value[0] + e.stepX[0] * x + e.stepY[0] * y;
                    int64_t e1 = e.value[1] + e.stepX[1] * x + e.stepY[1] * y;
                    int64_t e2 = e.value[2] + e.stepX[2] * x + e.stepY[2] * y;
                    for (; y < h; y += rows) {
                        if ((e0 | e1 | e2) >= 0) d.draw(b, index, polygon.plane, x0 + x, y0 + y);
                        e0 += e.stepY[0] * rows;
                        e1 += e.stepY[1] * rows;
                        e2 += e.stepY[2] * rows;
                    }
                }
            }
        }
    }
}

struct ResolveBody {
    RasterInput in;
    Viewport view;
    const unsigned long long* keys;
    float4* rast;
    float4* db;

    __device__ void operator()(int64_t pixel) const {
        const uint64_t key = keys[pixel];
        float4 value = make_float4(0, 0, 0, 0), slope = value;
        if (key != kEmptyKey) {
            const int64_t pixels = static_cast<int64_t>(in.height) * in.width;
            const int64_t b = in.batch == 1 ? 0 : pixel / pixels;
            const auto local = static_cast<uint32_t>(pixel - b * pixels);
            const auto px = static_cast<int32_t>(local % static_cast<uint32_t>(in.width));
            const auto py = static_cast<int32_t>(local / static_cast<uint32_t>(in.width));
            ClipVertex v[3];
            loadCorners(in.corners(b), in.numVertices, in.tri + 3 * int64_t{keyIndex(key)}, v);
            const EdgeValues e(v, PixelCentre(px, py, view));
            resolvePixel(e, keyDepth(key), keyIndex(key), &value.x);
            if (db) resolveDerivatives(e, v, view, &slope.x);
        }
        rast[pixel] = value;
        if (db) db[pixel] = slope;
    }
};

struct RasterizeGradBody {
    RasterInput in;
    Viewport view;
    const float* rast;
    const float* gradRast;
    const float* gradDb;
    float* gradPos;

    __device__ void operator()(int64_t pixel) const {
        const int64_t face = decodeId(rast[4 * pixel + 3]);
        if (face < 0 || face >= in.numTriangles) return;
        const int64_t pixels = static_cast<int64_t>(in.height) * in.width, b = pixel / pixels;
        const auto local = static_cast<uint32_t>(pixel - b * pixels);
        ClipVertex v[3];
        const int32_t* row = in.tri + 3 * face;
        if (!loadCorners(in.corners(b), in.numVertices, row, v)) return;
        double corners[12] = {};
        barycentricGrad(v, static_cast<int32_t>(local % static_cast<uint32_t>(in.width)),
                        static_cast<int32_t>(local / static_cast<uint32_t>(in.width)), view,
                        gradRast ? gradRast + 4 * pixel : nullptr, gradDb ? gradDb + 4 * pixel : nullptr, corners);
        const int64_t base = in.posShared ? 0 : b * in.numVertices;
        const WarpSum sum(static_cast<unsigned long long>(b * in.numTriangles + face));
        for (int k = 0; k < 3; ++k) {
            const double* g = corners + 4 * k;
            sum.add(gradPos + 4 * (base + row[k]), Pack<4>{{static_cast<float>(g[0]), static_cast<float>(g[1]),
                                                            static_cast<float>(g[2]), static_cast<float>(g[3])}});
        }
    }
};

// Draws the triangles of `in` (all of its batch) into the keys.
void drawTriangles(Workspace& workspace, const RasterInput& in, int64_t firstIndex, unsigned long long* keys) {
    const int64_t pairs = in.batch * in.numTriangles;
    if (pairs == 0) return;
    const auto stream = workspace.stream();
    // So many that neither the entries nor the tiles of a launch can overflow the packed counter.
    const int64_t tiles = (int64_t{in.width} / kTile + 1) * (in.height / kTile + 1);
    const int64_t chunk = smaller(kChunk, (int64_t{1} << kTileBits) / tiles - 1), capacity = smaller(pairs, chunk);
    auto* entries = static_cast<Entry*>(
        workspace.allocate(sizeof(Counters) + (sizeof(Entry) + sizeof(uint32_t)) * static_cast<size_t>(capacity)));
    auto* counters = reinterpret_cast<Counters*>(entries + capacity);
    auto* list = reinterpret_cast<uint32_t*>(counters + 1);
    Drawing d{in, Viewport(in.height, in.width), 0, firstIndex, keys, list, entries, counters};
    int device = 0, processors = 0;
    checkCuda(cudaGetDevice(&device), "device");
    checkCuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "device");
    for (; d.first < pairs; d.first += chunk) {
        const auto count = static_cast<uint32_t>(smaller(pairs - d.first, chunk));
        fillZero(workspace, d.counters, 1);
        drawSmallKernel<<<(count + 127) / 128, 128, 0, stream>>>(d, count);
        checkLaunch("drawing small triangles");
        reserveTilesKernel<<<processors * 8, 128, 0, stream>>>(d);
        checkLaunch("listing large triangles");
        drawTilesKernel<<<processors * 5, 128, 0, stream>>>(d);  // as many as fit at a time
        checkLaunch("drawing large triangles");
    }
    workspace.release(entries);
}

}  // namespace

void rasterizeOnDevice(Workspace& workspace, const RasterInput& in, float* rast, float* db) {
    const int64_t imagePixels = static_cast<int64_t>(in.height) * in.width, pixels = in.batch * imagePixels;
    if (pixels == 0) return;
    auto* keys = workspace.allocate<unsigned long long>(pixels);
    checkCuda(cudaMemsetAsync(keys, 0xff, sizeof(*keys) * pixels, workspace.stream()), "memset");
    if (!in.ranges) drawTriangles(workspace, in, 0, keys);
    for (int64_t b = 0; b < in.batch && in.ranges; ++b) {
        const TriangleRange range = rangeOf(in, b);
        RasterInput item = in;
        item.pos = in.corners(b);
        item.batch = 1;
        item.tri = in.tri + 3 * range.first;
        item.numTriangles = range.count;
        item.peel = in.peel ? in.peel + b * imagePixels : nullptr;
        drawTriangles(workspace, item, range.first, keys + b * imagePixels);
    }
    launchFor(workspace, pixels,
              ResolveBody{in, Viewport(in.height, in.width), keys, reinterpret_cast<float4*>(rast),
                          reinterpret_cast<float4*>(db)},
              "resolving pixels");
}

void rasterizeGradOnDevice(Workspace& workspace, const RasterInput& in, const float* rast, const float* gradRast,
                           const float* gradDb, float* gradPos) {
    const int64_t pixels = in.batch * in.height * in.width;
    launchFor(workspace, pixels, RasterizeGradBody{in, Viewport(in.height, in.width), rast, gradRast, gradDb, gradPos}, "gradient of rasterisation");
}

}  // namespace ovoxel
