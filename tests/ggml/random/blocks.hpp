// SPDX-License-Identifier: MIT
// What drawn graphs consist of; each block takes values and leaves new ones (draw.hpp).
#pragma once

#include "ggml/random/draw.hpp"

namespace rknpu2::test {

// blocks_products.cpp: multiplications by the same activations, among them LoRA pairs; gates; experts.
void draw_products(Draw& draw);
void draw_long_products(Draw& draw);
void draw_lora(Draw& draw);
void draw_feed_forward(Draw& draw);
void draw_experts(Draw& draw);

// blocks_attention.cpp: a cache that is written, and looked at through a mask; latent vectors.
void draw_attention(Draw& draw);
void draw_latent_attention(Draw& draw);

// blocks_states.cpp: memory that stays, read and written in any order, rows or all of it; weights that are
// written.
void draw_state(Draw& draw);
void draw_written_weight(Draw& draw);

// blocks_recurrent.cpp: Mamba, RWKV, gated linear attention, delta nets, of one sequence or several.
void draw_recurrence(Draw& draw);

// blocks_far.cpp: operands of all magnitudes.
void draw_far_products(Draw& draw);

// blocks_custom.cpp: the host's own functions between products, and what it asks of products.
void draw_custom(Draw& draw);
void draw_rotation(Draw& draw);
// Those products that are there.
void draw_hints(Draw& draw);

// blocks_rows.cpp: operations row by row, which flows know.
void draw_row_operations(Draw& draw);
void draw_unread(Draw& draw);

// blocks_other.cpp: operations that plans do not know; views, reshapes and permutations.
void draw_other(Draw& draw);
void draw_views(Draw& draw);
// Some of the rows go on.
void draw_fewer_rows(Draw& draw);

}  // namespace rknpu2::test
