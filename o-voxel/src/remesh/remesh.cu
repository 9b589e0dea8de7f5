#include "common/launch.h"
#include "remesh/remesh.h"

namespace ovoxel::remesh {
namespace {

constexpr int kSide = 8;  // a tile is kSide x kSide words

struct Tiles {
    int64_t x, y, z;  // tiles along each axis; a tile is one word along z
    OVOXEL_HD int64_t count() const { return x * y * z; }
};

// Fills the listed tiles as far as labels go inside them, and lists neighbours of tiles whose border changed.
__global__ void __launch_bounds__(64) floodTiles(FloodField field, Tiles tiles, Word* labels, const int32_t* list,
                                                 int32_t* next, int32_t* nextCount, int32_t* stamps, int32_t pass) {
    constexpr int kHalo = kSide + 2;
    __shared__ Word label[kHalo][kHalo], wallX[kHalo][kHalo], wallY[kHalo][kHalo];
    const NodeGrid& grid = field.grid;
    const int64_t tile = list[blockIdx.x], words = grid.words();
    const int64_t tz = tile % tiles.z, ty = tile / tiles.z % tiles.y, tx = tile / tiles.z / tiles.y;
    const int i = threadIdx.x / kSide, j = threadIdx.x % kSide;
    for (int k = threadIdx.x; k < kHalo * kHalo; k += 64) {
        const int a = k / kHalo, b = k % kHalo;
        const int64_t x = tx * kSide + a - 1, y = ty * kSide + b - 1;
        label[a][b] = wordOr0(grid, labels, x, y, tz);
        wallX[a][b] = wordOr0(grid, field.walls, x, y, tz);
        wallY[a][b] = wordOr0(grid, field.walls + words, x, y, tz);
    }
    const int64_t x = tx * kSide + i, y = ty * kSide + j;
    const bool inGrid = x < grid.size[0] && y < grid.size[1];
    const int64_t word = inGrid ? (x * grid.size[1] + y) * grid.column() + tz : 0;
    Word open = 0, wallZ = 0, fromZ = 0;
    if (inGrid) {
        const WordAt at(grid, word);
        open = field.open(at, word);
        wallZ = field.walls[2 * words + word];
        fromZ = (wordOr0(grid, labels, x, y, tz - 1) & ~wordOr0(grid, field.walls + 2 * words, x, y, tz - 1)) >> 63;
        fromZ |= (wordOr0(grid, labels, x, y, tz + 1) << 63) & ~wallZ;
    }
    __syncthreads();
    const Word before = label[i + 1][j + 1];
    for (;;) {
        const Word own = label[i + 1][j + 1];
        Word in = fromZ;
        in |= label[i][j + 1] & ~wallX[i][j + 1];
        in |= label[i + 2][j + 1] & ~wallX[i + 1][j + 1];
        in |= label[i + 1][j] & ~wallY[i + 1][j];
        in |= label[i + 1][j + 2] & ~wallY[i + 1][j + 1];
        const Word now = fillWord(own | (in & open), open, wallZ);
        __syncthreads();
        label[i + 1][j + 1] = now;
        if (!__syncthreads_or(now != own)) break;
    }
    const Word after = label[i + 1][j + 1], changed = after ^ before;
    if (!inGrid || changed == 0) return;
    labels[word] = after;
    auto wake = [&](int64_t nx, int64_t ny, int64_t nz) {
        if (nx < 0 || nx >= tiles.x || ny < 0 || ny >= tiles.y || nz < 0 || nz >= tiles.z) return;
        const int64_t other = (nx * tiles.y + ny) * tiles.z + nz;
        if (atomicExch(stamps + other, pass) != pass) next[atomicAdd(nextCount, 1)] = static_cast<int32_t>(other);
    };
    if (i == 0) wake(tx - 1, ty, tz);
    if (i == kSide - 1) wake(tx + 1, ty, tz);
    if (j == 0) wake(tx, ty - 1, tz);
    if (j == kSide - 1) wake(tx, ty + 1, tz);
    if (changed & 1) wake(tx, ty, tz - 1);
    if (changed >> 63) wake(tx, ty, tz + 1);
}

// Tiles that hold labels and open nodes without one, or neighbours that do: where spreading can start.
__global__ void __launch_bounds__(256) listTiles(FloodField field, Tiles tiles, const Word* labels, int32_t* list,
                                                 int32_t* count) {
    const int64_t tile = int64_t{256} * blockIdx.x + threadIdx.x;
    if (tile >= tiles.count()) return;
    const NodeGrid& grid = field.grid;
    const int64_t tz = tile % tiles.z, ty = tile / tiles.z % tiles.y, tx = tile / tiles.z / tiles.y;
    Word seeds = 0, room = 0;
    for (int i = -1; i <= kSide; ++i)
        for (int j = -1; j <= kSide; ++j) {
            const int64_t x = tx * kSide + i, y = ty * kSide + j;
            const Word here = wordOr0(grid, labels, x, y, tz);
            const bool inside = i >= 0 && i < kSide && j >= 0 && j < kSide;
            seeds |= here;
            if (!inside || x >= grid.size[0] || y >= grid.size[1]) continue;
            seeds |= wordOr0(grid, labels, x, y, tz - 1) >> 63 | wordOr0(grid, labels, x, y, tz + 1) << 63;
            const int64_t word = (x * grid.size[1] + y) * grid.column() + tz;
            room |= field.open(WordAt(grid, word), word) & ~here;
        }
    if (seeds && room) list[atomicAdd(count, 1)] = static_cast<int32_t>(tile);
}

}  // namespace

template <class Run, class Body>
void runEach(const Run& run, int64_t n, const Body& body, const char* what) {
    launchFor(*run.workspace, n, body, what);
}

#define OVOXEL_REMESH_BODY(Body) template void runEach(const DeviceRun&, int64_t, const Body&, const char*);
#include "remesh/bodies.inc"
#undef OVOXEL_REMESH_BODY

void flood(const DeviceRun& run, const FloodField& field, Word* labels) {
    Workspace& workspace = *run.workspace;
    const Tiles tiles{(field.grid.size[0] + kSide - 1) / kSide, (field.grid.size[1] + kSide - 1) / kSide,
                      field.grid.column()};
    const int64_t count = tiles.count();
    int32_t* lists[2] = {workspace.allocate<int32_t>(count), workspace.allocate<int32_t>(count)};
    int32_t* stamps = workspace.allocate<int32_t>(count);
    int32_t* found = workspace.allocate<int32_t>(1);
    fillZero(workspace, stamps, count);
    fillZero(workspace, found, 1);
    listTiles<<<static_cast<unsigned>((count + 255) / 256), 256, 0, workspace.stream()>>>(field, tiles, labels,
                                                                                         lists[0], found);
    checkLaunch("flood start");
    int32_t active = readBack(workspace, found);
    for (int32_t pass = 1; active > 0; ++pass) {
        fillZero(workspace, found, 1);
        floodTiles<<<static_cast<unsigned>(active), 64, 0, workspace.stream()>>>(
            field, tiles, labels, lists[(pass + 1) % 2], lists[pass % 2], found, stamps, pass);
        checkLaunch("flood");
        active = readBack(workspace, found);
    }
    for (int32_t* memory : {lists[0], lists[1], stamps, found}) workspace.release(memory);
}

const CaseTable* placeTable(const DeviceRun& run) {
    static const CaseTable table = makeCaseTable();
    return upload(*run.workspace, &table, 1);
}

}  // namespace ovoxel::remesh
