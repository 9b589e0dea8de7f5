// Solid labels of a node grid and the surface between them: the calls, on the host (HostRun) or a GPU (DeviceRun).
#pragma once

#include "common/device.h"
#include "remesh/contour_body.h"
#include "remesh/flood_body.h"
#include "remesh/smooth_body.h"

namespace ovoxel::remesh {

struct HostRun {};
struct DeviceRun {
    Workspace* workspace;
};

// body(i) for i in [0, n) on the threads of the place.
template <class Run, class Body>
void runEach(const Run& run, int64_t n, const Body& body, const char* what);

// Spreads labels to everything that they reach; in place.
void flood(const HostRun& run, const FloodField& field, Word* labels);
void flood(const DeviceRun& run, const FloodField& field, Word* labels);

// A case table where the bodies can read it; valid until the end of the call's workspace.
const CaseTable* placeTable(const HostRun& run);
const CaseTable* placeTable(const DeviceRun& run);

}  // namespace ovoxel::remesh
