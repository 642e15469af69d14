// SPDX-License-Identifier: MIT
#include "machine_report.hpp"

#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "device/cpu_team.hpp"
#include "gguf/gguf_file.hpp"
#include "matmul/npu_device.hpp"
#include "plan/rates_of_board.hpp"
#include "runtime/locate.hpp"
#include "runtime/rknn_runtime.hpp"
#include "soc/rk3588.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

using nlohmann::ordered_json;

Status ask_runtime(const std::string& own_directory, MachineReport& report) {
    report.runtime_path = RKNPU2_TAKE(locate_runtime(report.config.runtime, own_directory));
    keep_malloc_from_mapping(is_simulator(report.runtime_path), report.config.malloc_mmap);
    const StdoutToStderr guard;
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(report.runtime_path);
    if (!runtime.ok()) return runtime.status();
    report.runtime = runtime.value()->info();
    const Config& config = report.config;
    const BoardProfileChoice profile = choose_board_profile(config, report.runtime);
    const RatesKey key = rates_key(config, report.runtime, cpu_threads(config), cpu_affinity(config), "");
    report.rates = choose_rates(config, key, rates_of_cores(profile.rates, config.cores), nullptr);
    return {};
}

std::string cpu_text(const Config& config) {
    std::vector<std::string> cpus;
    for (const int cpu : cpu_affinity(config))
        cpus.push_back(std::to_string(cpu));
    const std::string where = cpus.empty() ? "any CPU" : (cpus.size() == 1 ? "CPU " : "CPUs ") + joined(cpus);
    return format("%d on %s", cpu_threads(config), where.c_str());
}

// Where they are from, what is wrong with that, and how fast the board is.
std::string rates_text(const RatesChoice& choice) {
    std::vector<std::string> parts = {choice.info};
    parts.insert(parts.end(), choice.warnings.begin(), choice.warnings.end());
    if (!choice.rates.is_empty()) parts.push_back(choice.rates.summary());
    return joined(parts, "; ");
}

std::string facts_table(const MachineReport& report) {
    TextTable table("ll");
    if (report.runtime_error.empty()) {
        table.add({"runtime", report.runtime.library});
        table.add(
            {"", report.runtime.simulated ? "a simulator: no NPU is used" : "the vendor's, for a real NPU"});
        table.add({"API version", printable(report.runtime.api_version)});
        table.add({"driver version", printable(report.runtime.driver_version)});
    } else {
        table.add({"runtime", "none: " + printable(report.runtime_error)});
    }
    const std::vector<std::string> nodes = npu_device_nodes();
    table.add({"device nodes", nodes.empty() ? "none of the rknpu kernel driver" : joined(nodes)});
    if (const Status access = check_access(nodes); !access.ok()) table.add({"", access.message()});
    if (has_rocket_driver()) {
        table.add({"rocket", "the mainline kernel driver is here; librknnrt.so does not work with it"});
    }
    table.add({"NPU cores", format("%d of the RK3588's %d", report.config.cores, rk3588::kCores)});
    table.add({"memory",
               human_bytes(report.memory.available) + " available of " + human_bytes(report.memory.total)});
    table.add({"CPU threads", cpu_text(report.config)});
    table.add({"precision", precision_name(report.config.precision)});
    if (report.runtime_error.empty()) table.add({"rates of NPU and CPU", rates_text(report.rates)});
    return table.to_string();
}

std::string settings_table() {
    TextTable table("llll");
    table.add({"SETTING", "NOW", "DEFAULT", "MAY BE"});
    const auto shown = [](const std::string& value) { return value.empty() ? "-" : printable(value); };
    TextTable help("ll");
    for (const SettingInfo& setting : describe_settings()) {
        table.add({setting.name, shown(setting.current), shown(setting.default_text), setting.range});
        help.add({setting.name, setting.help});
    }
    return table.to_string() + "\n" + help.to_string();
}

}  // namespace

MachineReport look_at_machine(const Config& config, const std::string& own_directory) {
    MachineReport report;
    report.config = config;
    report.runtime_error = ask_runtime(own_directory, report).message();
    report.memory = system_memory();
    return report;
}

static void to_json(ordered_json& to, const SettingInfo& setting) {
    to = {{"name", setting.name},       {"type", setting.type},
          {"current", setting.current}, {"default", setting.default_text},
          {"range", setting.range},     {"help", setting.help}};
}

std::string to_json(const MachineReport& report) {
    ordered_json runtime = {{"setting", report.config.runtime}};
    runtime["found"] = report.runtime_error.empty();
    runtime["path"] = report.runtime_path.empty() ? ordered_json(nullptr) : ordered_json(report.runtime_path);
    if (report.runtime_error.empty()) {
        runtime["api_version"] = report.runtime.api_version;
        runtime["driver_version"] = report.runtime.driver_version;
        runtime["simulated"] = report.runtime.simulated;
    } else {
        runtime["error"] = report.runtime_error;
    }
    const ordered_json document = {
        {"schema", 1},
        {"version", RKNPU2_VERSION},
        {"runtime", runtime},
        {"device_nodes", npu_device_nodes()},
        {"rocket_driver", has_rocket_driver()},
        {"npu_cores", {{"used", report.config.cores}, {"total", rk3588::kCores}}},
        {"memory", {{"total", report.memory.total}, {"available", report.memory.available}}},
        {"cpu", {{"threads", cpu_threads(report.config)}, {"affinity", cpu_affinity(report.config)}}},
        {"precision", precision_name(report.config.precision)},
        {"rates",
         report.runtime_error.empty() ? ordered_json(rates_text(report.rates)) : ordered_json(nullptr)},
        {"settings", describe_settings()},
        {"unknown_settings", report.config.unknown},
    };
    return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const MachineReport& report) {
    return format("ggml-rknpu2 %s\n\n", RKNPU2_VERSION) + facts_table(report) + "\n" + settings_table();
}

}  // namespace rknpu2
