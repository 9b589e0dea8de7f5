// Exact look-up of voxel rows by coordinates: an open-addressing table that many threads fill at once, on CPU or CUDA.
//
// A slot is 8 bytes: 32 bits of key and the row. In grids of fewer than 2^32 cells the key is the cell's number, exact by
// itself; in larger ones it is a hash, and a match is confirmed by the coordinates. Cells of one 2 x 2 x 2 block have
// neighbouring home slots, 64 bytes in all: the look-ups around a voxel share cache lines. A slot in use sends the search
// on to another block, so that full blocks do not grow into runs: with 2 slots a voxel, on surfaces, 1.4 are read for a
// voxel that is there and 2.0 for one that is not, as many as with a perfectly random hash; with 4 slots 1.15 and 1.33.
#pragma once

#include <cstdint>

#include "common/atomics.h"
#include "common/host_device.h"

namespace ovoxel {

struct Cell {
    int32_t batch, x, y, z;
};

struct Extent {  // cells lie in [0, batches) x [0, x) x [0, y) x [0, z)
    int64_t batches, x, y, z;

    OVOXEL_HD bool holds(const Cell& c) const {
        return c.batch >= 0 && c.batch < batches && c.x >= 0 && c.x < x && c.y >= 0 && c.y < y && c.z >= 0 && c.z < z;
    }
};

class VoxelTable {
public:
    using Slot = uint64_t;
    static constexpr Slot kEmpty = ~Slot{0};  // every byte 0xff: clear with a memset
    static constexpr int64_t kBlock = 8;

    // Slots for n voxels: at least `slotsPerVoxel` for each, 2 or more.
    static int64_t capacityFor(int64_t n, int slotsPerVoxel) { return (slotsPerVoxel * n / kBlock + 1) * kBlock; }

    // coords [n, columns]: x, y, z or batch, x, y, z. n < 2^31; slots [capacity], a multiple of kBlock, cleared.
    OVOXEL_HD VoxelTable(const int32_t* coords, int columns, const Extent& extent, Slot* slots, int64_t capacity)
        : coords_(coords), slots_(slots), extent_(extent), blocks_(static_cast<uint64_t>(capacity / kBlock)),
          columns_(columns) {
        const double cells = static_cast<double>(extent.batches) * extent.x * extent.y * extent.z;
        exact_ = cells < 4294967295.0;
    }

    OVOXEL_HD const Extent& extent() const { return extent_; }

    OVOXEL_HD Cell cell(int64_t row) const {
        const int32_t* c = coords_ + columns_ * row;
        return columns_ == 3 ? Cell{0, c[0], c[1], c[2]} : Cell{c[0], c[1], c[2], c[3]};
    }

    // The row's cell must lie in the extent. Any number of threads may insert; of equal cells the smallest row stays.
    // False if the cell was there already.
    OVOXEL_HD bool insert(int64_t row) const {
        const Cell wanted = cell(row);
        Probe probe = home(wanted);
        const Slot entry = Slot{probe.key} << 32 | static_cast<uint32_t>(row);
        for (;; advance(probe)) {
            Slot* slot = slots_ + at(probe);
            const Slot held = atomicCompareSwap(slot, kEmpty, entry);
            if (held == kEmpty) return true;
            if (matches(wanted, probe, held)) {
                atomicMinimum(slot, entry);  // of one cell's entries, which have one key, the smaller has the smaller row
                return false;
            }
        }
    }

    // Row of a cell or -1, also for cells outside the extent. Not to be mixed with inserts.
    OVOXEL_HD int64_t find(const Cell& wanted) const {
        if (!extent_.holds(wanted)) return -1;
        const Probe probe = home(wanted);
        return finish(wanted, probe, read(probe));
    }

    // find() of cells inside, in steps, so that several look-ups can be under way at once: read the home slot, finish.
    struct Probe {
        uint32_t hash, local, key;
    };
    OVOXEL_HD Probe home(const Cell& c) const {
        const uint32_t x = static_cast<uint32_t>(c.x), y = static_cast<uint32_t>(c.y), z = static_cast<uint32_t>(c.z);
        const uint32_t batch = static_cast<uint32_t>(c.batch);
        const uint32_t block = mix((x >> 1) * 0x9e3779b1u + (y >> 1) * 0x85ebca77u + (z >> 1) * 0xc2b2ae3du +
                                   batch * 0x27d4eb2fu);
        uint32_t key;
        if (exact_)
            key = ((batch * static_cast<uint32_t>(extent_.x) + x) * static_cast<uint32_t>(extent_.y) + y) *
                      static_cast<uint32_t>(extent_.z) + z;
        else
            key = mix(x * 0x2c1b3c6du + y * 0x297a2d39u + z * 0x1b56c4e9u + batch) & 0x7fffffffu;  // never all ones
        return {block, (x & 1) << 2 | (y & 1) << 1 | (z & 1), key};
    }
    OVOXEL_HD Slot read(const Probe& probe) const { return slots_[at(probe)]; }
    OVOXEL_HD int64_t finish(const Cell& wanted, Probe probe, Slot held) const {
        while (held != kEmpty) {
            if (matches(wanted, probe, held)) return static_cast<int64_t>(held & 0xffffffffu);
            advance(probe);
            held = read(probe);
        }
        return -1;
    }

private:
    OVOXEL_HD static uint32_t mix(uint32_t h) {  // finaliser of MurmurHash3
        h ^= h >> 16;
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        return h ^ h >> 16;
    }
    OVOXEL_HD uint64_t at(const Probe& probe) const { return (probe.hash * blocks_ >> 32) * kBlock + probe.local; }
    // A linear congruential step of full period (Hull and Dobell, 1962), so the search reaches every slot.
    OVOXEL_HD static void advance(Probe& probe) {
        probe.hash += probe.hash * 0x9e3779b0u + 0x9e3779b1u;
        probe.local = (probe.local + 1) % kBlock;
    }
    OVOXEL_HD bool matches(const Cell& a, const Probe& probe, Slot held) const {
        if (static_cast<uint32_t>(held >> 32) != probe.key) return false;
        if (exact_) return true;
        const Cell b = cell(static_cast<int64_t>(held & 0xffffffffu));
        return a.x == b.x && a.y == b.y && a.z == b.z && a.batch == b.batch;
    }

    const int32_t* coords_;
    Slot* slots_;
    Extent extent_;
    uint64_t blocks_;
    int columns_;
    bool exact_;
};

}  // namespace ovoxel
