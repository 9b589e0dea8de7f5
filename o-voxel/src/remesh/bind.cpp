// Bindings of the remeshing topic. Results are written into arrays of the caller; bit sets cross as int64 words.
#include <nanobind/stl/array.h>

#include <array>
#include <string>

#include "remesh/spaces.h"

namespace nb = nanobind;

namespace ovoxel {

void bindSmooth(nb::module_& m);

namespace {

using namespace remesh;
using Size = std::array<int64_t, 3>;

template <class Space>
struct Bindings {
    template <class T>
    using Column = ColumnOf<Space, T>;
    template <class T>
    using Rows3 = RowsOf<Space, T, 3>;
    using Bits = Column<int64_t>;
    using MaybeBits = std::optional<Bits>;

    static Word* words(const Bits& bits) { return reinterpret_cast<Word*>(bits.data()); }
    static Word* words(const MaybeBits& bits) { return bits ? words(*bits) : nullptr; }

    static NodeGrid gridOf(const Size& size) {
        for (const int64_t n : size) need(n >= 2 && n <= (int64_t{1} << 20), "size must lie in [2, 2^20]");
        return {{size[0], size[1], size[2]}};
    }
    static void needWords(const NodeGrid& grid, const Bits& bits, int64_t sets = 1) {
        need(static_cast<int64_t>(bits.shape(0)) == sets * grid.words(), "a bit set has another length than the grid");
    }
    static void needWords(const NodeGrid& grid, const MaybeBits& bits) {
        if (bits) needWords(grid, *bits);
    }
    static Triangles trianglesOf(const Rows3<double>& vertices, const Rows3<int32_t>& faces) {
        return {vertices.data(), faces.data(), static_cast<int64_t>(faces.shape(0))};
    }
    static Crossings crossingsOf(const NodeGrid& grid, const Bits& bits, const Column<int32_t>& before,
                                 const Bits& first, const Bits& last) {
        needWords(grid, bits, 3);
        need(before.shape(0) == bits.shape(0) && first.shape(0) == last.shape(0), "crossings differ in length");
        return {words(bits), before.data(), words(first), words(last)};
    }

    static void markCrossings(Rows3<double> vertices, Rows3<int32_t> faces, Size size, Bits bits, Launch launch) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, bits, 3);
        Space space(launch);
        const Triangles mesh = trianglesOf(vertices, faces);
        eachIn(space, mesh.count, MarkCrossingsBody{mesh, grid, words(bits)}, "mark crossings");
    }
    static void recordCrossings(Rows3<double> vertices, Rows3<int32_t> faces, Size size, Bits bits,
                                Column<int32_t> before, Bits first, Bits last, Launch launch) {
        const NodeGrid grid = gridOf(size);
        const Crossings crossings = crossingsOf(grid, bits, before, first, last);
        Space space(launch);
        const Triangles mesh = trianglesOf(vertices, faces);
        eachIn(space, mesh.count, RecordCrossingsBody{mesh, grid, crossings, words(first), words(last)},
             "record crossings");
    }
    static void doubled(Size size, Bits bits, Column<int32_t> before, Bits first, Bits last, Bits out, Launch launch) {
        const NodeGrid grid = gridOf(size);
        const Crossings crossings = crossingsOf(grid, bits, before, first, last);
        needWords(grid, out, 3);
        Space space(launch);
        eachIn(space, 3 * grid.words(), DoubledBody{crossings, words(out)}, "doubled crossings");
    }
    static void faceSides(Rows3<double> vertices, Rows3<int32_t> faces, Size size, Bits bits, Column<int32_t> before,
                          Bits first, Bits last, Bits outside, Column<int32_t> counts, Launch launch) {
        const NodeGrid grid = gridOf(size);
        const Crossings crossings = crossingsOf(grid, bits, before, first, last);
        needWords(grid, outside);
        need(counts.shape(0) == 5 * faces.shape(0), "counts must have 5 values a face");
        Space space(launch);
        const Triangles mesh = trianglesOf(vertices, faces);
        eachIn(space, mesh.count, FaceSidesBody{mesh, grid, crossings, words(outside), counts.data()}, "face sides");
    }
    static void askRows(Rows3<int32_t> faces, Column<uint8_t> kinds, Column<uint8_t> out, Launch launch) {
        need(kinds.shape(0) == faces.shape(0) && out.shape(0) == faces.shape(0), "kinds must have one value a face");
        Space space(launch);
        const int64_t count = static_cast<int64_t>(faces.shape(0));
        eachIn(space, count, AskRowsBody{faces.data(), kinds.data(), count, out.data()}, "ask rows");
    }
    static void rimHashes(Rows3<int32_t> faces, Bits hashes, Launch launch) {
        Space space(launch);
        eachIn(space, static_cast<int64_t>(faces.shape(0)), RimHashBody{faces.data(), words(hashes)}, "rim hashes");
    }
    static void markRims(Rows3<double> vertices, Rows3<int32_t> faces, Bits hashes, Size size, Bits bits,
                         Launch launch) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, bits);
        need(hashes.shape(0) == vertices.shape(0), "hashes must have one value a vertex");
        Space space(launch);
        const Triangles mesh = trianglesOf(vertices, faces);
        eachIn(space, mesh.count, MarkRimsBody{mesh, words(hashes), grid, words(bits)}, "mark rims");
    }
    static FloodField fieldOf(const NodeGrid& grid, const Bits& walls, const MaybeBits& closed,
                              const MaybeBits& other) {
        needWords(grid, walls, 3);
        needWords(grid, closed);
        needWords(grid, other);
        return {grid, words(walls), {words(closed), words(other)}};
    }
    static void floodLabels(Bits labels, Bits walls, MaybeBits closed, MaybeBits other, Size size, Launch launch) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, labels);
        const FloodField field = fieldOf(grid, walls, closed, other);
        Space space(launch);
        flood(space.run(), field, words(labels));
    }
    static void step(Bits labels, Bits walls, MaybeBits closed, MaybeBits other, Size size, Bits out,
                     Launch launch) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, labels);
        needWords(grid, out);
        const FloodField field = fieldOf(grid, walls, closed, other);
        Space space(launch);
        eachIn(space, grid.words(), StepBody{field, words(labels), words(out)}, "flood step");
    }
    template <class Body>
    static void overWords(Bits bits, Size size, Bits out, int64_t sets, Launch launch, const char* what) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, bits);
        needWords(grid, out, sets);
        Space space(launch);
        eachIn(space, sets * grid.words(), Body{grid, words(bits), words(out)}, what);
    }
    static void dilate(Bits bits, Size size, Bits out, Launch launch) {
        overWords<DilateBody>(bits, size, out, 1, launch, "dilate");
    }
    static void activeCells(Bits bits, Size size, Bits out, Launch launch) {
        overWords<ActiveCellsBody>(bits, size, out, 1, launch, "active cells");
    }
    static void activeEdges(Bits bits, Size size, Bits out, Launch launch) {
        overWords<ActiveEdgesBody>(bits, size, out, 3, launch, "active edges");
    }
    static void sheetNodes(Bits crossed, Bits outside, Size size, Bits out, Launch launch) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, crossed, 3);
        needWords(grid, outside);
        needWords(grid, out);
        Space space(launch);
        eachIn(space, grid.words(), SheetNodesBody{grid, words(crossed), words(outside), words(out)}, "sheet nodes");
    }
    static void countBits(Bits bits, Column<int32_t> out, Launch launch) {
        need(bits.shape(0) == out.shape(0), "out must have one count a word");
        Space space(launch);
        eachIn(space, static_cast<int64_t>(bits.shape(0)), PopcountBody{words(bits), out.data()}, "count bits");
    }
    static void listBits(Bits bits, Column<int32_t> before, Bits out, Launch launch) {
        need(bits.shape(0) == before.shape(0), "before must have one count a word");
        Space space(launch);
        eachIn(space, static_cast<int64_t>(bits.shape(0)), ListBitsBody{words(bits), before.data(), out.data()},
             "list bits");
    }
    static void cellSheets(Bits inside, Size size, Bits places, Bits sheets, Column<int32_t> counts,
                           Launch launch) {
        const NodeGrid grid = gridOf(size);
        needWords(grid, inside);
        need(places.shape(0) == sheets.shape(0) && places.shape(0) == counts.shape(0), "cells differ in number");
        Space space(launch);
        const CaseTable* table = placeTable(space.run());
        eachIn(space, static_cast<int64_t>(places.shape(0)),
             CellSheetsBody{grid, words(inside), table, places.data(), words(sheets), counts.data()}, "cell sheets");
    }
    static Cells cellsOf(const NodeGrid& grid, const Bits& bits, const Column<int32_t>& before, const Bits& sheets,
                         const Bits& firstVertex) {
        needWords(grid, bits);
        need(before.shape(0) == bits.shape(0) && sheets.shape(0) == firstVertex.shape(0), "cells differ in number");
        return {grid, words(bits), before.data(), words(sheets), firstVertex.data()};
    }
    static void cellVertices(Rows3<double> vertices, Rows3<int32_t> faces, Size size, Bits crossed,
                             Column<int32_t> crossedBefore, Bits first, Bits last, Bits inside, MaybeBits sheetNodes,
                             Bits cellBits, Column<int32_t> cellBefore, Bits sheets, Bits firstVertex, Bits places,
                             std::array<double, 3> options, Rows3<double> out, Column<uint8_t> kinds,
                             Launch launch) {
        const NodeGrid grid = gridOf(size);
        const Crossings crossings = crossingsOf(grid, crossed, crossedBefore, first, last);
        const Cells cells = cellsOf(grid, cellBits, cellBefore, sheets, firstVertex);
        needWords(grid, inside);
        needWords(grid, sheetNodes);
        need(places.shape(0) == sheets.shape(0) && out.shape(0) == kinds.shape(0), "cells differ in number");
        Space space(launch);
        const CellVerticesBody body{trianglesOf(vertices, faces), crossings, cells, words(inside), words(sheetNodes),
                                    {options[0], options[1], options[2]}, places.data(), out.data(), kinds.data()};
        eachIn(space, static_cast<int64_t>(places.shape(0)), body, "cell vertices");
    }
    static void quads(Bits inside, Size size, Bits cellBits, Column<int32_t> cellBefore, Bits sheets, Bits firstVertex,
                      Bits edges, Column<int32_t> edgesBefore, Rows3<double> vertices, Rows3<int32_t> faces,
                      Launch launch) {
        const NodeGrid grid = gridOf(size);
        const Cells cells = cellsOf(grid, cellBits, cellBefore, sheets, firstVertex);
        needWords(grid, inside);
        needWords(grid, edges, 3);
        need(edges.shape(0) == edgesBefore.shape(0), "edges differ in number");
        Space space(launch);
        eachIn(space, 3 * grid.words(),
             QuadsBody{cells, words(inside), words(edges), edgesBefore.data(), vertices.data(), faces.data()}, "quads");
    }

    static void bind(nb::module_& m, const std::string& suffix) {
        const auto def = [&](const char* name, auto function, const char* doc) {
            m.def((std::string("remesh_") + name + suffix).c_str(), function, doc);
        };
        def("mark_crossings", &markCrossings, "(vertices, faces, size, bits, launch): grid edges that faces cross.");
        def("record_crossings", &recordCrossings,
            "(vertices, faces, size, bits, before, first, last, launch): outermost crossings on each edge.");
        def("doubled", &doubled,
            "(size, bits, before, first, last, out, launch): edges that several faces cross.");
        def("face_sides", &faceSides,
            "(vertices, faces, size, bits, before, first, last, outside, counts, launch): what faces border on.");
        def("ask_rows", &askRows, "(faces, kinds, out, launch): unknown kinds from the faces before and after.");
        def("rim_hashes", &rimHashes, "(faces, hashes, launch): 0 at vertices whose edges have even numbers of faces.");
        def("mark_rims", &markRims, "(vertices, faces, hashes, size, bits, launch): corners of cells on rims.");
        def("flood", &floodLabels, "(labels, walls, closed, other, size, launch): spreads labels in place.");
        def("step", &step, "(labels, walls, closed, other, size, out, launch): spreads labels by one node.");
        def("dilate", &dilate, "(bits, size, out, launch): adds the 26 neighbours.");
        def("active_cells", &activeCells, "(inside, size, out, launch): cells that the surface passes.");
        def("active_edges", &activeEdges, "(inside, size, out, launch): grid edges that the surface crosses.");
        def("sheet_nodes", &sheetNodes, "(crossed, outside, size, out, launch): nodes on both sides of open sheets.");
        def("count_bits", &countBits, "(bits, out, launch): members in every word.");
        def("list_bits", &listBits, "(bits, before, out, launch): places of the members.");
        def("cell_sheets", &cellSheets, "(inside, size, places, sheets, counts, launch): sheets of every cell.");
        def("cell_vertices", &cellVertices,
            "(vertices, faces, size, crossed, before, first, last, inside, sheet_nodes, cell_bits, cell_before, "
            "sheets, first_vertex, places, options, out, kinds, launch): vertices of every cell.");
        def("quads", &quads,
            "(inside, size, cell_bits, cell_before, sheets, first_vertex, edges, before, vertices, faces, launch): "
            "two faces around every crossed grid edge.");
    }
};

}  // namespace

void bindRemesh(nb::module_& m) {
    Bindings<HostSpace>::bind(m, "");
#ifdef OVOXEL_WITH_CUDA
    Bindings<CudaSpace>::bind(m, "_cuda");
#endif
    bindSmooth(m);
}

}  // namespace ovoxel
