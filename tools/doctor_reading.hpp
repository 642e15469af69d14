// SPDX-License-Identifier: MIT
// What nobody could tell before trying: one question about the board, its answer, and the numbers behind it.
//
// Sources disagree on how caches, contexts and limits of the real runtime behave, or say nothing at all. Each
// question is a row of docs/hardware.csv with an id; the probe of that id tries it out here and the reading is
// what came of it, also when it crashed or hung.
#pragma once

#include "doctor_measure.hpp"

namespace rknpu2 {

// One number of a reading.
struct Figure {
    std::string name;
    double value = 0;
    double of = 0;     // trials, when it is a count of them; else 0
    std::string unit;  // "us", "GB/s"; empty for counts

    bool all() const { return of > 0 && value == of; }
};

struct Reading : Outcome {
    std::string id;  // of docs/hardware.csv: "import-sync"
    std::string title;
    std::string answer;           // a word of docs/doctor.md, or a number; empty unless it ran
    std::vector<Figure> figures;  // also of what was tried before it failed

    const Figure* find(const std::string& name) const;
    void add_count(const std::string& name, size_t value, size_t of);
    void add(const std::string& name, double value, const std::string& unit);
};

struct Probe {
    const char* id;
    const char* title;
    bool quick;  // is tried by --quick, too
    // Sets answer and figures.
    Status (*run)(Bench& bench, Reading& reading);
};

// In the order in which they are tried: what may crash a board comes last.
const std::vector<Probe>& probes();

// A reading of the probe that has no answer, and why.
Reading not_tried(const Probe& probe, Outcome why);

Reading run_probe(const Probe& probe, Bench& bench);

Check check_of(const Reading& reading);

// The reading of that id; null when there is none.
const Reading* find_reading(const std::vector<Reading>& readings, const std::string& id);

// The columns that the plug-in's runs should have at most by the reading wide-n; 0: as many as they have by
// themselves. When the probe ended badly, what the vendor documents.
size_t fewer_columns(const Reading& wide);

// Names of figures that decide about a strategy (see below). The control: when even doing nothing
// was right each time, nothing can be told.
inline constexpr const char* kNothingDone = "without it";
inline constexpr const char* kCleanedWhole = "results over cleaned memory";
inline constexpr const char* kCleanedLines = "results over memory cleaned by lines";

// The probes, here and in doctor_trials.cpp and doctor_limits.cpp.
Status probe_cache(Bench& bench, Reading& reading);  // the one of the reading's id
Status probe_sync_cost(Bench& bench, Reading& reading);
Status probe_bind_cost(Bench& bench, Reading& reading);
Status probe_context_cost(Bench& bench, Reading& reading);
Status probe_int8_three_cores(Bench& bench, Reading& reading);
Status probe_attention_runs(Bench& bench, Reading& reading);
Status probe_attention_shapes(Bench& bench, Reading& reading);
Status probe_int4_input(Bench& bench, Reading& reading);
Status probe_many_contexts(Bench& bench, Reading& reading);
Status probe_many_rows(Bench& bench, Reading& reading);
Status probe_wide_n(Bench& bench, Reading& reading);

// Which strategy keeps the CPU's cache in step with the NPU on this board, by what was tried.
//
// The plug-in has two (docs/design.md): `owner` syncs whole buffers on the handles that rknn_create_mem gave,
// `lines` cleans and invalidates exact ranges from user space. A strategy is right when each of its steps was
// right in every trial; among the right ones the cheaper one is chosen, and `owner`, which the plug-in does
// without a profile, where lines do not gain a tenth and where trials could not tell.
struct Strategy {
    bool right = false;     // all of its steps
    bool failed = false;    // one of its steps
    std::string wrong;      // what was not right, or not tried; empty when it is right
    double lost_share = 0;  // of the time of a run, 0: not measured
};

struct CoherencyVerdict {
    Strategy owner, lines;
    bool told = false;   // some trial showed an old value where nothing was done
    std::string chosen;  // "owner" or "lines"; empty: neither is right
    std::string why;     // for people, and for the profile's comment
};

CoherencyVerdict choose_coherency(const std::vector<Reading>& readings);

// kProblem when no strategy is right. `readings` must have been taken.
Check check_of(const CoherencyVerdict& choice);

}  // namespace rknpu2
