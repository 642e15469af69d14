// SPDX-License-Identifier: MIT
// The table that RKNNSIM_REPORT asks for: virtual time, bytes and utilisation by shape and in total.
#pragma once

#include <map>
#include <string>
#include <tuple>

#include "timing/clock.hpp"

namespace rknnsim {

class Report : public Timeline::Listener {
  public:
    void on_run_time(const RunTime& run) override;
    void on_cpu_time(const char*, int, uint64_t, uint64_t) override {}

    // Lines of text. The profile knows how wrong the model is.
    std::string text(const TimeTotals& totals, const Profile& profile) const;

  private:
    using Key = std::tuple<MatmulType, bool, uint32_t, uint32_t, uint32_t>;
    struct Sums {
        CoreTotals core;
        uint64_t call_ns = 0;  // from the call to its return
    };

    std::map<Key, Sums> shapes_;
};

}  // namespace rknnsim
