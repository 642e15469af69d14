// SPDX-License-Identifier: MIT
// The text of profiles/rk3588.profile, compiled in.
#pragma once

namespace rknnsim {

const char* default_profile_text();

}  // namespace rknnsim
