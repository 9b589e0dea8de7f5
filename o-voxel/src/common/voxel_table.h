// Exact look-up of voxel rows by coordinates: an open-addressing table of row numbers that many threads fill at once.
//
// A slot holds a row, 4 bytes; keys are not stored but compared with the coordinates themselves, so any grid size is
// exact and the table stays small (8 bytes a voxel at the load of 1/2 used here). Cells of one 2 x 2 x 2 block have
// neighbouring home slots, 32 bytes in all: the look-ups around a voxel share cache lines. A slot in use sends the search
// on to another block, so that full blocks do not grow into runs: on surfaces 1.4 slots are read for a voxel that is
// there and 2.0 for one that is not, as many as with a perfectly random hash.
#pragma once

#include <cstdint>

#include "common/host_device.h"

#if !defined(__CUDA_ARCH__)
#include <atomic>
#endif

namespace ovoxel {

struct Cell {
    int32_t batch, x, y, z;
};

class VoxelTable {
public:
    static constexpr uint32_t kEmpty = 0xffffffffu;  // every byte 0xff: clear with a memset
    static constexpr int64_t kBlock = 8;

    // Slots for n voxels at a load of at most 1/2.
    static int64_t capacityFor(int64_t n) { return (2 * n / kBlock + 1) * kBlock; }

    // coords [n, columns]: x, y, z or batch, x, y, z. n < 2^31; slots [capacity], a multiple of kBlock, cleared.
    OVOXEL_HD VoxelTable(const int32_t* coords, int columns, uint32_t* slots, int64_t capacity)
        : coords_(coords), slots_(slots), columns_(columns), blocks_(static_cast<uint64_t>(capacity / kBlock)) {}

    OVOXEL_HD Cell cell(int64_t row) const {
        const int32_t* c = coords_ + columns_ * row;
        return columns_ == 3 ? Cell{0, c[0], c[1], c[2]} : Cell{c[0], c[1], c[2], c[3]};
    }

    // Any number of threads may insert; of equal cells the smallest row stays. False if the cell was there already.
    OVOXEL_HD bool insert(int64_t row) const {
        const Cell wanted = cell(row);
        for (Probe probe = home(wanted);; advance(probe)) {
            uint32_t* slot = slots_ + at(probe);
            const uint32_t held = claim(slot, static_cast<uint32_t>(row));
            if (held == kEmpty) return true;
            if (same(wanted, held)) {
                keepSmaller(slot, static_cast<uint32_t>(row));
                return false;
            }
        }
    }

    // Row of a cell or -1. Not to be mixed with inserts.
    OVOXEL_HD int64_t find(const Cell& wanted) const {
        const Probe probe = home(wanted);
        return finish(wanted, probe, read(probe));
    }

    // find() in steps, so that several look-ups can be under way at once: read the home slot, then finish.
    struct Probe {
        uint32_t hash, local;
    };
    OVOXEL_HD Probe home(const Cell& c) const {
        const uint32_t x = static_cast<uint32_t>(c.x), y = static_cast<uint32_t>(c.y), z = static_cast<uint32_t>(c.z);
        uint32_t h = (x >> 1) * 0x9e3779b1u + (y >> 1) * 0x85ebca77u + (z >> 1) * 0xc2b2ae3du +
                     static_cast<uint32_t>(c.batch) * 0x27d4eb2fu;
        h ^= h >> 16;  // finaliser of MurmurHash3
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        h ^= h >> 16;
        return {h, (x & 1) << 2 | (y & 1) << 1 | (z & 1)};
    }
    OVOXEL_HD uint32_t read(const Probe& probe) const { return slots_[at(probe)]; }
    OVOXEL_HD int64_t finish(const Cell& wanted, Probe probe, uint32_t held) const {
        while (held != kEmpty) {
            if (same(wanted, held)) return held;
            advance(probe);
            held = read(probe);
        }
        return -1;
    }

private:
    OVOXEL_HD uint64_t at(const Probe& probe) const { return (probe.hash * blocks_ >> 32) * kBlock + probe.local; }
    // A linear congruential step of full period (Hull and Dobell, 1962), so the search reaches every slot.
    OVOXEL_HD static void advance(Probe& probe) {
        probe.hash += probe.hash * 0x9e3779b0u + 0x9e3779b1u;
        probe.local = (probe.local + 1) % kBlock;
    }
    OVOXEL_HD bool same(const Cell& a, uint32_t row) const {
        const Cell b = cell(row);
        return a.x == b.x && a.y == b.y && a.z == b.z && a.batch == b.batch;
    }
    // Writes the row if the slot is empty; returns what was there.
    OVOXEL_HD static uint32_t claim(uint32_t* slot, uint32_t row) {
#ifdef __CUDA_ARCH__
        return atomicCAS(slot, kEmpty, row);
#else
        uint32_t held = kEmpty;
        reinterpret_cast<std::atomic<uint32_t>*>(slot)->compare_exchange_strong(held, row, std::memory_order_relaxed);
        return held;
#endif
    }
    OVOXEL_HD static void keepSmaller(uint32_t* slot, uint32_t row) {
#ifdef __CUDA_ARCH__
        atomicMin(slot, row);
#else
        auto* shared = reinterpret_cast<std::atomic<uint32_t>*>(slot);
        uint32_t held = shared->load(std::memory_order_relaxed);
        while (row < held && !shared->compare_exchange_weak(held, row, std::memory_order_relaxed)) {
        }
#endif
    }

    const int32_t* coords_;
    uint32_t* slots_;
    int columns_;
    uint64_t blocks_;
};

}  // namespace ovoxel
