// SPDX-License-Identifier: MIT
// Stretches of a graph that flow: their stages, what ends them, and where their results live.
#include "ggml/plan_fixture.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2::test {
namespace {

class FlowPlanTest : public PlanFixture {
  protected:
    static constexpr int64_t kK = 64;
    static constexpr int64_t kRows = kFewestFlowRows;
    static constexpr int64_t kCells = 256;

    ggml_tensor* rows(const char* name, int64_t width = kK) { return input(name, {width, kRows}); }
    ggml_tensor* square(const char* name) { return weight(name, kK, kK); }
    // A second product and an end, which make a stretch worth it.
    ggml_tensor* ending(ggml_tensor* x) {
        ggml_tensor* const s = like(Op::kSqr, "s", {x});
        ggml_tensor* const p = matmul("p", weight("wp", x->ne[0], kK), s);
        like(Op::kOther, "end", {p});
        return p;
    }
    // [head, cells] of a cache, as attention wants it.
    ggml_tensor* shown(const char* name, ggml_tensor* cache) {
        return view(Op::kView, name, cache, {cache->ne[0], cache->ne[1], 1}, {});
    }
    ggml_tensor* attention(const char* name, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v,
                           ggml_tensor* mask) {
        ggml_tensor* const queries = view(Op::kPermute, "queries", q, {q->ne[0], kRows, 1}, {4, q->nb[1], 4});
        return node(Op::kFlashAttention, name, {v->ne[0], 1, kRows}, {queries, k, v, mask});
    }
};

TEST_F(FlowPlanTest, ALayer) {
    ggml_tensor* const x = rows("x");
    ggml_tensor* const mask = input("mask", {kCells, kRows}, GGML_TYPE_F16);
    ggml_tensor* const places = input("places", {kRows}, GGML_TYPE_I64);
    ggml_tensor* const kc = state("kc", {kK, kCells}, GGML_TYPE_F16);
    ggml_tensor* const vc = state("vc", {kK, kCells}, GGML_TYPE_F16);
    ggml_tensor* const norm = like(Op::kRmsNorm, "norm", {x});
    ggml_tensor* const h = like(Op::kMul, "mul", {norm, vector("norm weight", kK)});
    ggml_tensor* const q = matmul("q", square("wq"), h);
    ggml_tensor* const k = matmul("k", square("wk"), h);
    ggml_tensor* const v = matmul("v", square("wv"), h);
    set_rows("set_k", kc, k, places);
    set_rows("set_v", vc, v, places);
    ggml_tensor* const o = attention("attn", q, shown("ks", kc), shown("vs", vc), mask);
    ggml_tensor* const y = matmul("o", square("wo"), view(Op::kReshape, "flat", o, {kK, kRows}, {}));
    ggml_tensor* const sum = like(Op::kAdd, "sum", {y, x});
    like(Op::kOther, "end", {sum});
    EXPECT_EQ(steps(), "flow(norm..sum) cpu(end)");
    EXPECT_EQ(stages(),
              "pass(norm mul) group(q k v) pass(set_k set_v) attention(attn after 2) pass() group(o) "
              "pass(sum)");
    EXPECT_EQ(home(norm), "block");
    EXPECT_EQ(home(h), "block");
    EXPECT_EQ(home(q), "chunk");
    EXPECT_EQ(home(k), "block");
    EXPECT_EQ(home(o), "chunk");
    EXPECT_EQ(home(sum), "graph");
    const FlowPlan& flow = *flows().at(0);
    EXPECT_EQ(flow.stages[2].cache_writers.size(), 2U);
    EXPECT_EQ(flow.stages[3].cache_reads.size(), 2U);
}

// Heads of a token are rows of their own in between, as llama.cpp shows them.
TEST_F(FlowPlanTest, TheRotationOfAQuantisedCacheFlows) {
    constexpr int64_t kHead = kK / 4;
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const heads = view(Op::kReshape, "heads", q, {kHead, 4 * kRows}, {});
    ggml_tensor* const turned = matmul("turned", weight("rotation", kHead, kHead), heads);
    ggml_tensor* const flat = view(Op::kReshape, "flat", turned, {kK, kRows}, {});
    ending(flat);
    EXPECT_EQ(steps(), "group(q) group(turned) cpu(s) group(p) cpu(end)");  // it may be any weight
    turned->op_params[1] = GGML_HINT_SRC0_IS_HADAMARD;
    EXPECT_EQ(steps(), "flow(q..p) cpu(end)");
    EXPECT_EQ(stages(), "pass() group(q) pass(turned s) group(p) pass()");
    EXPECT_EQ(home(turned), "block");
    EXPECT_EQ(flows().at(0)->tensors.at(turned).row_bytes, kK * sizeof(float));
}

// A row of the flow is four rows of the result, which no other operation knows.
TEST_F(FlowPlanTest, HeadsThatAreRowsOfTheirOwnEndAFlow) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    ggml_tensor* const heads = view(Op::kReshape, "heads", p, {kK / 4, 4 * kRows}, {});
    like(Op::kSqr, "s", {heads});
    EXPECT_EQ(steps(), "flow(q..p) cpu(s)");
}

// What counters tell of a model: how many of its products flow, and what ended the stretches.
TEST_F(FlowPlanTest, WhereAStretchStopsAndWhy) {
    ggml_tensor* const kept = state("kept", {kK, kCells});
    ggml_tensor* const places = input("places", {kRows}, GGML_TYPE_I64);
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("first", kept, q, places);
    set_rows("second", kept, p, places);
    ggml_tensor* const other = like(Op::kOther, "other", {p});
    ggml_tensor* const wide = matmul("wide", weight("ww", kK, 70000), other);
    ggml_tensor* const few = matmul("few", square("wf"), input("y", {kK, kRows - 1}));
    like(Op::kSqr, "end", {few});
    EXPECT_EQ(steps(), "flow(q..first) cpu(second other) group(wide) group(few) cpu(end)");
    EXPECT_EQ(stops(), "second: memory of other chunks; other: not row by row; wide: too many columns");
    EXPECT_EQ(plan().prompt_products, 3U);
    ASSERT_GT(wide->ne[0], 65536);
}

TEST_F(FlowPlanTest, TheEndOfTheGraphIsNoStop) {
    matmul("p", square("wp"), matmul("q", square("wq"), rows("x")));
    EXPECT_EQ(stops(), "");
    EXPECT_EQ(plan().prompt_products, 2U);
}

TEST_F(FlowPlanTest, FewerRowsDoNotFlow) {
    ggml_tensor* const x = input("x", {kK, kRows - 1});
    ending(matmul("q", square("wq"), x));
    EXPECT_EQ(steps(), "group(q) cpu(s) group(p) cpu(end)");
}

TEST_F(FlowPlanTest, AGraphThatDoesNotTellItsUsesHasNone) {
    ending(matmul("q", square("wq"), rows("x")));
    EXPECT_EQ(steps(), "flow(q..p) cpu(end)");
    EXPECT_EQ(steps(false), "group(q) cpu(s) group(p) cpu(end)");
}

TEST_F(FlowPlanTest, SettingsAndDiagnosticsThatNeedSingleMultiplications) {
    ending(matmul("q", square("wq"), rows("x")));
    host_.config.on_error = {OnError::kRetry, OnError::kCpu};
    EXPECT_EQ(steps(), "group(q) cpu(s) group(p) cpu(end)");
    host_.config.on_error = {OnError::kRetry};
    EXPECT_EQ(steps(), "flow(q..p) cpu(end)");
    host_.config.fuse = false;
    EXPECT_EQ(steps(), "group(q) cpu(s) group(p) cpu(end)");
}

TEST_F(FlowPlanTest, AResultThatNobodyReadsIsTheHosts) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const unread = like(Op::kScale, "unread", {q});
    ending(q);
    EXPECT_EQ(home(unread), "graph");
    EXPECT_EQ(home(q), "block");
}

TEST_F(FlowPlanTest, AnUnreadViewKeepsItsTensor) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    view(Op::kView, "part", q, {kK / 2, kRows}, {4, q->nb[1]});
    ending(q);
    EXPECT_EQ(home(q), "graph");
}

TEST_F(FlowPlanTest, AnOutputInTheMiddle) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    q->flags |= GGML_TENSOR_FLAG_OUTPUT;
    ending(q);
    EXPECT_EQ(home(q), "graph");
}

TEST_F(FlowPlanTest, AnOutputWhereTheInputIsGoesThereAtTheEnd) {
    ggml_tensor* const x = rows("x");
    ggml_tensor* const q = matmul("q", square("wq"), x);
    q->flags |= GGML_TENSOR_FLAG_OUTPUT;
    q->data = x->data;
    ending(q);
    EXPECT_EQ(home(q), "chunk, copied out");
}

TEST_F(FlowPlanTest, TwoResultsInOnePlaceDoNotFlow) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const a = like(Op::kSqr, "a", {q});
    like(Op::kSqr, "b", {q})->data = a->data;  // neither is read
    ending(q);
    EXPECT_EQ(steps(), "group(q) cpu(a b s) group(p) cpu(end)");
}

// --- Memory outside: what is read and written there, in which order ----------------------------------------

TEST_F(FlowPlanTest, AStateThatWasReadRowByRowIsNotWritten) {
    ggml_tensor* const kept = state("kept", {kK, kRows});
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const sum = like(Op::kAdd, "sum", {q, kept});
    ggml_tensor* const p = matmul("p", square("wp"), sum);
    set_rows("set", kept, p, input("places", {kRows}, GGML_TYPE_I64));
    like(Op::kSqr, "end", {p});
    EXPECT_EQ(steps(), "flow(q..p) cpu(set end)");
}

TEST_F(FlowPlanTest, ActivationsFromAStateAreReadRowByRow) {
    ggml_tensor* const kept = state("kept", {kK, kRows});
    ggml_tensor* const q = matmul("q", square("wq"), kept);
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("set", kept, p, input("places", {kRows}, GGML_TYPE_I64));
    like(Op::kSqr, "end", {p});
    EXPECT_EQ(steps(), "flow(q..p) cpu(set end)");
}

TEST_F(FlowPlanTest, AWeightThatIsWrittenIsNotMultipliedByInTheSameFlow) {
    ggml_tensor* const stored = state("stored", {kK, kRows});
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("set", stored, p, input("places", {kRows}, GGML_TYPE_I64));
    ggml_tensor* const r = matmul("r", stored, p);
    like(Op::kOther, "end", {r});
    EXPECT_EQ(steps(), "flow(q..set) group(r) cpu(end)");
}

TEST_F(FlowPlanTest, AWeightThatWasMultipliedByIsNotWrittenInTheSameFlow) {
    ggml_tensor* const stored = state("stored", {kK, kK});
    ggml_tensor* const q = matmul("q", stored, rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("set", stored, p, input("places", {kRows}, GGML_TYPE_I64));
    like(Op::kSqr, "end", {p});
    EXPECT_EQ(steps(), "flow(q..p) cpu(set end)");
}

TEST_F(FlowPlanTest, NothingIsWrittenTwice) {
    ggml_tensor* const kept = state("kept", {kK, kCells});
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("first", kept, q, input("places", {kRows}, GGML_TYPE_I64));
    set_rows("second", kept, p, input("others", {kRows}, GGML_TYPE_I64));
    like(Op::kSqr, "end", {p});
    EXPECT_EQ(steps(), "flow(q..first) cpu(second end)");
}

TEST_F(FlowPlanTest, WhatWasWrittenIsReadByAttentionOnly) {
    ggml_tensor* const kept = state("kept", {kK, kRows});
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("set", kept, q, input("places", {kRows}, GGML_TYPE_I64));
    ggml_tensor* const sum = like(Op::kAdd, "sum", {p, kept});
    like(Op::kOther, "end", {sum});
    EXPECT_EQ(steps(), "flow(q..set) cpu(sum end)");
}

TEST_F(FlowPlanTest, TheBytesCountNotTheTensor) {
    ggml_tensor* const kept = state("kept", {kK, kRows});
    ggml_tensor* const other = state("other", {kK, kRows});
    other->data = static_cast<std::byte*>(kept->data) + kept->nb[1];
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const sum = like(Op::kAdd, "sum", {q, other});
    ggml_tensor* const p = matmul("p", square("wp"), sum);
    set_rows("set", kept, p, input("places", {kRows}, GGML_TYPE_I64));
    like(Op::kSqr, "end", {p});
    EXPECT_EQ(steps(), "flow(q..p) cpu(set end)");
}

TEST_F(FlowPlanTest, AttentionWaitsForKeysAndValuesOnly) {
    for (const bool mask_is_written : {false, true}) {
        nodes_clear();
        ggml_tensor* const mask = state("mask", {kCells, kRows}, GGML_TYPE_F16);
        ggml_tensor* const kc = state("kc", {kK, kCells}, GGML_TYPE_F16);
        ggml_tensor* const places = input("places", {kRows}, GGML_TYPE_I64);
        ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
        ggml_tensor* const p = matmul("p", square("wp"), q);
        set_rows("set", kc, q, places);
        if (mask_is_written) {
            ggml_tensor* const wide = matmul("wide", weight("ww", kK, kCells), p);
            set_rows("set_mask", mask, wide, places);
        }
        ggml_tensor* const k = shown("ks", kc);
        ggml_tensor* const o = attention("attn", p, k, k, mask);
        like(Op::kOther, "end", {o});
        EXPECT_EQ(steps(), mask_is_written ? "flow(q..set_mask) cpu(attn end)" : "flow(q..attn) cpu(end)");
    }
}

// Rows of four sequences, each with its part of the cache.
TEST_F(FlowPlanTest, AttentionOverStreams) {
    constexpr int64_t kStreams = 4, kEach = kRows / kStreams;
    for (const bool of_all_streams : {true, false}) {
        nodes_clear();
        ggml_tensor* const kc = state("kc", {kK, kCells * kStreams}, GGML_TYPE_F16);
        ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
        ggml_tensor* const p = matmul("p", square("wp"), q);
        set_rows("set", kc, q, input("places", {kRows}, GGML_TYPE_I64));
        const size_t row = p->nb[1];
        ggml_tensor* const queries =
            view(Op::kPermute, "queries", p, {kK, kEach, 1, kStreams}, {4, row, 4, row * kEach});
        ggml_tensor* const k = view(Op::kView, "ks", kc, {kK, kCells, 1, of_all_streams ? kStreams : 1},
                                    {2, kc->nb[1], 2, kc->nb[1] * kCells});
        ggml_tensor* const mask = input("mask", {kCells, kEach, 1, kStreams}, GGML_TYPE_F16);
        ggml_tensor* const o =
            node(Op::kFlashAttention, "attn", {kK, 1, kEach, kStreams}, {queries, k, k, mask});
        matmul("o", square("wo"), view(Op::kReshape, "flat", o, {kK, kRows}, {}));
        like(Op::kOther, "end", {o});
        EXPECT_EQ(steps(),
                  of_all_streams ? "flow(q..o) cpu(end)" : "flow(q..set) cpu(attn) group(o) cpu(end)");
        EXPECT_EQ(flows().at(0)->stream_rows, of_all_streams ? kEach : kRows);
    }
}

// One cache of which keys and values are both a part, as in DeepSeek's attention.
TEST_F(FlowPlanTest, KeysAndValuesOfOneCacheAreTwoReadsOfOneWrite) {
    ggml_tensor* const kc = state("kc", {kK, kCells}, GGML_TYPE_F16);
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    set_rows("set", kc, q, input("places", {kRows}, GGML_TYPE_I64));
    ggml_tensor* const v = view(Op::kView, "vs", kc, {kK / 2, kCells, 1}, {2, kc->nb[1], 2});
    attention("attn", p, shown("ks", kc), v, input("mask", {kCells, kRows}, GGML_TYPE_F16));
    like(Op::kOther, "end", {p});
    EXPECT_EQ(steps(), "flow(q..attn) cpu(end)");
    const FlowPlan& flow = *flows().at(0);
    EXPECT_EQ(flow.stages.back().cache_reads.size(), 2U);
    EXPECT_NE(flow.stages.back().cache_reads[0].shown, flow.stages.back().cache_reads[1].shown);
}

// --- What a chunk has not: rows of others ------------------------------------------------------------------

TEST_F(FlowPlanTest, WhatTheFlowComputesIsNotReadAsAWhole) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    // Frequencies of a rotary embedding, taken from the first row.
    ggml_tensor* const frequencies = view(Op::kView, "first row", p, {kK}, {});
    ggml_tensor* const heads = view(Op::kView, "heads", p, {kK, 1, kRows}, {4, 4, p->nb[1]});
    ggml_tensor* const r = node(Op::kRope, "rope", {kK, 1, kRows},
                                {heads, input("positions", {kRows}, GGML_TYPE_I32), frequencies});
    like(Op::kOther, "end", {r});
    EXPECT_EQ(steps(), "flow(q..p) cpu(rope end)");
}

TEST_F(FlowPlanTest, KeysThatTheFlowComputesEndIt) {
    ggml_tensor* const q = matmul("q", square("wq"), rows("x"));
    ggml_tensor* const p = matmul("p", square("wp"), q);
    ggml_tensor* const k = view(Op::kView, "ks", p, {kK, kRows, 1}, {4, p->nb[1], 4});
    attention("attn", q, k, k, input("mask", {kRows, kRows}, GGML_TYPE_F16));
    like(Op::kOther, "end", {p});
    EXPECT_EQ(steps(), "flow(q..p) cpu(attn end)");
}

// As many heads as tokens, and nobody has made queries of them: the rows lie elsewhere.
TEST_F(FlowPlanTest, QueriesThatAreNoViewHaveTheirRowsWhereTheyWereComputed) {
    ggml_tensor* const p = matmul("p", weight("wp", kK, 4 * kRows), matmul("q", square("wq"), rows("x")));
    ggml_tensor* const heads = view(Op::kView, "heads", p, {4, kRows, kRows}, {4, 16, p->nb[1]});
    ggml_tensor* const r =
        node(Op::kRope, "rope", {4, kRows, kRows}, {heads, input("positions", {kRows}, GGML_TYPE_I32)});
    ggml_tensor* const k = input("k", {4, kCells, 1}, GGML_TYPE_F16);
    node(Op::kFlashAttention, "attn", {4, kRows, kRows},
         {r, k, k, input("mask", {kCells, kRows}, GGML_TYPE_F16)});
    like(Op::kOther, "end", {p});
    EXPECT_EQ(steps(), "flow(q..rope) cpu(attn end)");
}

TEST_F(FlowPlanTest, ChunksOfResultsThatLiveAtTheSameTimeDoNotOverlap) {
    ggml_tensor* x = rows("x");
    std::vector<ggml_tensor*> kept;
    for (int i = 0; i < 6; ++i) {
        kept.push_back(x = matmul("m", square("w"), x));
        if (i >= 2) x = like(Op::kAdd, "add", {x, kept[static_cast<size_t>(i - 2)]});
    }
    like(Op::kOther, "end", {x});
    const FlowPlan& flow = *flows().at(0);
    size_t pairs = 0;
    for (const auto& [one, a] : flow.tensors) {
        EXPECT_LE(a.home == FlowTensor::Home::kChunk ? a.offset + a.row_bytes : 0, flow.chunk_bytes);
        for (const auto& [other, b] : flow.tensors) {
            const bool both = one != other && a.home == FlowTensor::Home::kChunk && b.home == a.home;
            if (!both || a.last_stage < b.first_stage || b.last_stage < a.first_stage) continue;
            ++pairs;
            EXPECT_TRUE(a.offset + a.row_bytes <= b.offset || b.offset + b.row_bytes <= a.offset);
        }
    }
    EXPECT_GT(pairs, 4U);
}

}  // namespace
}  // namespace rknpu2::test
