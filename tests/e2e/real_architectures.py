# SPDX-License-Identifier: MIT
"""The tensors and the metadata of the architectures that real_widths.py makes models of.

Each function adds {tensor: shape}, innermost dimension first, to a dictionary and returns the architecture's own metadata, as llama.cpp's
loader asks for them (src/models/ of its source tree).
"""

import collections

LAYERS = 2
VOCABULARY = 2560  # the head is a matrix of several tiles for each core
CONTEXT = 1024

# type: of the matrices (head: of the output head). head_size 0: embedding / heads. ties: single rows may go either way in any arithmetic,
# because a token has some of the experts only and two of them are nearly as good, or because a recurrent state begins as the product of
# two numbers whose sign is all that the norm behind it leaves. more: what only this architecture has.
Widths = collections.namedtuple("Widths", "arch type embedding feed_forward heads kv_heads head_size experts used ties more head layers",
                                defaults=(0, 0, 0, 0, 0, False, {}, "q6_K", LAYERS))


def _blocks(w):
    return [f"blk.{layer}." for layer in range(w.layers)]


def _norm(shapes, name, size, bias=False):
    shapes[name + ".weight"] = (size,)
    if bias:
        shapes[name + ".bias"] = (size,)


def _matrix(shapes, name, inputs, outputs, bias=False, experts=()):
    shapes[name + ".weight"] = (inputs, outputs, *experts)
    if bias:
        shapes[name + ".bias"] = (outputs, *experts)


def _head_size(w):
    return w.head_size or w.embedding // w.heads


def _attention(shapes, block, w, fused=False, bias=False, out_bias=False):
    """Query, key and value, apart or as one matrix, and the output; heads of head_size."""
    size = _head_size(w)
    parts = {"attn_q": w.heads * size, "attn_k": w.kv_heads * size, "attn_v": w.kv_heads * size}
    for name, outputs in ({"attn_qkv": sum(parts.values())} if fused else parts).items():
        _matrix(shapes, block + name, w.embedding, outputs, bias)
    _matrix(shapes, block + "attn_output", w.heads * size, w.embedding, out_bias)


def _feed_forward(shapes, block, w, gate=True, bias=False, inner=0, suffix="", experts=()):
    inner = inner or w.feed_forward
    for name in ("ffn_gate", "ffn_up") if gate else ("ffn_up",):
        _matrix(shapes, block + name + suffix, w.embedding, inner, bias, experts)
    _matrix(shapes, block + "ffn_down" + suffix, inner, w.embedding, bias, experts)


def _frame(shapes, w, bias=False, output=True):
    """What stands around the layers. Without an output the head is the embedding."""
    shapes["token_embd.weight"] = (w.embedding, VOCABULARY)
    _norm(shapes, "output_norm", w.embedding, bias)
    if output:
        shapes["output.weight"] = (w.embedding, VOCABULARY)


def _llama(shapes, w):
    _frame(shapes, w)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w)
        _norm(shapes, block + "ffn_norm", w.embedding)
        if w.experts:
            _matrix(shapes, block + "ffn_gate_inp", w.embedding, w.experts)
            _feed_forward(shapes, block, w, suffix="_exps", experts=(w.experts,))
        else:
            _feed_forward(shapes, block, w)
    return {"attention.layer_norm_rms_epsilon": 1e-5, "rope.dimension_count": _head_size(w)}


def _qwen(shapes, w):
    """Qwen2 has biases of query, key and value, Qwen3 norms of query and key."""
    _frame(shapes, w, output=w.embedding > 1024)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w, bias=w.arch == "qwen2")
        if w.arch == "qwen3":
            _norm(shapes, block + "attn_q_norm", _head_size(w))
            _norm(shapes, block + "attn_k_norm", _head_size(w))
        _norm(shapes, block + "ffn_norm", w.embedding)
        _feed_forward(shapes, block, w)
    return {"attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6}


def _gemma(shapes, w):
    _frame(shapes, w, output=False)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w)
        if w.arch == "gemma3":
            _norm(shapes, block + "attn_q_norm", _head_size(w))
            _norm(shapes, block + "attn_k_norm", _head_size(w))
        for name in ("post_attention_norm", "ffn_norm", "post_ffw_norm"):
            _norm(shapes, block + name, w.embedding)
        _feed_forward(shapes, block, w)
    keys = {"attention.layer_norm_rms_epsilon": 1e-6, "attention.sliding_window": 96}
    if w.arch == "gemma2":
        keys.update({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0})
    return keys


def _phi3(shapes, w):
    _frame(shapes, w)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w, fused=True)
        _norm(shapes, block + "ffn_norm", w.embedding)
        _matrix(shapes, block + "ffn_up", w.embedding, 2 * w.feed_forward)
        _matrix(shapes, block + "ffn_down", w.feed_forward, w.embedding)
    return {"attention.layer_norm_rms_epsilon": 1e-5, "rope.dimension_count": _head_size(w)}


def _gpt_oss(shapes, w):
    _frame(shapes, w)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w, bias=True, out_bias=True)
        shapes[block + "attn_sinks.weight"] = (w.heads,)
        _norm(shapes, block + "post_attention_norm", w.embedding)
        _matrix(shapes, block + "ffn_gate_inp", w.embedding, w.experts, bias=True)
        _feed_forward(shapes, block, w, bias=True, suffix="_exps", experts=(w.experts,))
    return {"attention.layer_norm_rms_epsilon": 1e-5, "attention.sliding_window": 128, "rope.dimension_count": _head_size(w),
            "expert_feed_forward_length": w.feed_forward}


def _deepseek2(shapes, w):
    """Latent attention: keys and values of all heads out of one vector of `latent` numbers. The first layer is dense."""
    latent, nope, rope, value, inner = 512, 128, 64, 128, w.more["expert_inner"]
    _frame(shapes, w)
    for layer, block in enumerate(_blocks(w)):
        _norm(shapes, block + "attn_norm", w.embedding)
        _matrix(shapes, block + "attn_q", w.embedding, w.heads * (nope + rope))
        _matrix(shapes, block + "attn_kv_a_mqa", w.embedding, latent + rope)
        _norm(shapes, block + "attn_kv_a_norm", latent)
        shapes[block + "attn_k_b.weight"] = (nope, latent, w.heads)
        shapes[block + "attn_v_b.weight"] = (latent, value, w.heads)
        _matrix(shapes, block + "attn_output", w.heads * value, w.embedding)
        _norm(shapes, block + "ffn_norm", w.embedding)
        if layer == 0:
            _feed_forward(shapes, block, w)
        else:
            _matrix(shapes, block + "ffn_gate_inp", w.embedding, w.experts)
            _feed_forward(shapes, block, w, inner=inner, suffix="_exps", experts=(w.experts,))
            _feed_forward(shapes, block, w, inner=2 * inner, suffix="_shexp")
    return {"attention.layer_norm_rms_epsilon": 1e-6, "leading_dense_block_count": 1, "attention.q_lora_rank": 0,
            "attention.kv_lora_rank": latent, "attention.key_length": latent + rope, "attention.value_length": latent,
            "attention.key_length_mla": nope + rope, "attention.value_length_mla": value, "attention.head_count_kv": 1,
            "rope.dimension_count": rope, "expert_feed_forward_length": inner, "expert_shared_count": 2, "expert_weights_scale": 1.0}


def _command_r(shapes, w):
    _frame(shapes, w, output=False)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w)
        _feed_forward(shapes, block, w)
    return {"attention.layer_norm_epsilon": 1e-5, "logit_scale": 0.0625}


def _falcon(shapes, w):
    _frame(shapes, w, bias=True)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding, bias=True)
        _attention(shapes, block, w, fused=True)
        _feed_forward(shapes, block, w, gate=False)
    return {"attention.layer_norm_epsilon": 1e-5}


def _gptneox(shapes, w):
    _frame(shapes, w, bias=True)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding, bias=True)
        _attention(shapes, block, w, fused=True, bias=True, out_bias=True)
        _norm(shapes, block + "ffn_norm", w.embedding, bias=True)
        _feed_forward(shapes, block, w, gate=False, bias=True)
    return {"attention.layer_norm_epsilon": 1e-5, "use_parallel_residual": True, "rope.dimension_count": _head_size(w) // 4}


def _mpt(shapes, w):
    _frame(shapes, w, output=False)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _attention(shapes, block, w, fused=True)
        _norm(shapes, block + "ffn_norm", w.embedding)
        _feed_forward(shapes, block, w, gate=False)
    return {"attention.layer_norm_epsilon": 1e-5, "attention.max_alibi_bias": 8.0}


def _stablelm(shapes, w):
    """The 12B has norms of query and key for each head, and a parallel residual instead of a norm before the feed-forward part."""
    big = w.embedding > 4096
    _frame(shapes, w, bias=True)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding, bias=True)
        _attention(shapes, block, w, bias=not big)
        if big:
            shapes[block + "attn_q_norm.weight"] = (_head_size(w), w.heads)
            shapes[block + "attn_k_norm.weight"] = (_head_size(w), w.kv_heads)
        else:
            _norm(shapes, block + "ffn_norm", w.embedding, bias=True)
        _feed_forward(shapes, block, w)
    return {"attention.layer_norm_epsilon": 1e-5, "use_parallel_residual": big, "rope.dimension_count": _head_size(w) // 4}


def _lfm2(shapes, w):
    """A layer of short convolution, then one of attention; the last norm is called token_embd_norm."""
    shapes["token_embd.weight"] = (w.embedding, VOCABULARY)
    _norm(shapes, "token_embd_norm", w.embedding)
    for layer, block in enumerate(_blocks(w)):
        _norm(shapes, block + "attn_norm", w.embedding)
        if layer == 0:
            shapes[block + "shortconv.conv.weight"] = (3, w.embedding)
            _matrix(shapes, block + "shortconv.in_proj", w.embedding, 3 * w.embedding)
            _matrix(shapes, block + "shortconv.out_proj", w.embedding, w.embedding)
        else:
            _norm(shapes, block + "attn_q_norm", _head_size(w))
            _norm(shapes, block + "attn_k_norm", _head_size(w))
            _attention(shapes, block, w)
        _norm(shapes, block + "ffn_norm", w.embedding)
        _feed_forward(shapes, block, w)
    return {"attention.layer_norm_rms_epsilon": 1e-5, "shortconv.l_cache": 3, "attention.head_count_kv": [0, w.kv_heads]}


def _mamba(shapes, w):
    inner, state, rank = 2 * w.embedding, 16, w.more["rank"]
    _frame(shapes, w, output=False)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _matrix(shapes, block + "ssm_in", w.embedding, 2 * inner)
        shapes[block + "ssm_conv1d.weight"] = (4, inner)
        shapes[block + "ssm_conv1d.bias"] = (inner,)
        _matrix(shapes, block + "ssm_x", inner, rank + 2 * state)
        _matrix(shapes, block + "ssm_dt", rank, inner, bias=True)
        shapes[block + "ssm_a"] = (state, inner)
        shapes[block + "ssm_d"] = (inner,)
        _matrix(shapes, block + "ssm_out", inner, w.embedding)
    return {"attention.layer_norm_rms_epsilon": 1e-5, "ssm.conv_kernel": 4, "ssm.inner_size": inner, "ssm.state_size": state,
            "ssm.time_step_rank": rank}


def _mamba2(shapes, w):
    inner, state, heads = 2 * w.embedding, 128, 2 * w.embedding // 64
    _frame(shapes, w, output=False)
    for block in _blocks(w):
        _norm(shapes, block + "attn_norm", w.embedding)
        _matrix(shapes, block + "ssm_in", w.embedding, 2 * inner + 2 * state + heads)
        shapes[block + "ssm_conv1d.weight"] = (4, inner + 2 * state)
        shapes[block + "ssm_conv1d.bias"] = (inner + 2 * state,)
        shapes[block + "ssm_dt.bias"] = (heads,)
        shapes[block + "ssm_a"] = (1, heads)
        shapes[block + "ssm_d"] = (1, heads)
        shapes[block + "ssm_norm.weight"] = (inner, 1)
        _matrix(shapes, block + "ssm_out", inner, w.embedding)
    return {"attention.layer_norm_rms_epsilon": 1e-5, "ssm.conv_kernel": 4, "ssm.inner_size": inner, "ssm.state_size": state,
            "ssm.time_step_rank": heads, "ssm.group_count": 1}


def _rwkv_frame(shapes, w):
    _frame(shapes, w, bias=True)
    _norm(shapes, "token_embd_norm", w.embedding, bias=True)
    for block in _blocks(w):
        for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            _norm(shapes, block + name, w.embedding, bias=True)
        for name in ("key", "value", "receptance", "output"):
            _matrix(shapes, f"{block}time_mix_{name}", w.embedding, w.embedding)
        shapes[block + "channel_mix_lerp_k.weight"] = (w.embedding, 1, 1)
        _matrix(shapes, block + "channel_mix_key", w.embedding, w.feed_forward)
        _matrix(shapes, block + "channel_mix_value", w.feed_forward, w.embedding)
    return {"attention.layer_norm_epsilon": 1e-5, "wkv.head_size": 64, "attention.head_count": 0}


def _rwkv6(shapes, w):
    keys, wide, (mix, decay) = _rwkv_frame(shapes, w), w.embedding, w.more["extra"]
    for block in _blocks(w):
        _matrix(shapes, block + "time_mix_w1", wide, 5 * mix)
        shapes[block + "time_mix_w2.weight"] = (mix, wide, 5)
        shapes[block + "time_mix_lerp_x.weight"] = (wide, 1, 1)
        shapes[block + "time_mix_lerp_fused.weight"] = (wide, 1, 1, 5)
        shapes[block + "time_mix_first.weight"] = (64, wide // 64)
        shapes[block + "time_mix_decay.weight"] = (wide,)
        _matrix(shapes, block + "time_mix_decay_w1", wide, decay)
        _matrix(shapes, block + "time_mix_decay_w2", decay, wide)
        _matrix(shapes, block + "time_mix_gate", wide, wide)
        shapes[block + "channel_mix_lerp_r.weight"] = (wide, 1, 1)
        _matrix(shapes, block + "channel_mix_receptance", wide, wide)
    return {**keys, "time_mix_extra_dim": mix, "time_decay_extra_dim": decay}


def _rwkv7(shapes, w):
    keys, wide = _rwkv_frame(shapes, w), w.embedding
    decay, rate, value, gate = w.more["ranks"]
    for layer, block in enumerate(_blocks(w)):
        for letter, rank in (("w", decay), ("a", rate), ("v", value if layer else rate)):
            shapes[f"{block}time_mix_{letter}0.weight"] = (wide,)
            _matrix(shapes, f"{block}time_mix_{letter}1", wide, rank)
            _matrix(shapes, f"{block}time_mix_{letter}2", rank, wide)
        _matrix(shapes, block + "time_mix_g1", wide, gate)
        _matrix(shapes, block + "time_mix_g2", gate, wide)
        shapes[block + "time_mix_lerp_fused.weight"] = (wide, 1, 1, 6)
        for name in ("k_k", "k_a", "r_k"):
            shapes[f"{block}time_mix_{name}.weight"] = (wide,)
    return {**keys, "attention.decay_lora_rank": decay, "attention.iclr_lora_rank": rate,
            "attention.value_residual_mix_lora_rank": value, "attention.gate_lora_rank": gate}


def _bert(shapes, w):
    shapes["token_embd.weight"] = (w.embedding, VOCABULARY)
    shapes["token_types.weight"] = (w.embedding, 2)
    shapes["position_embd.weight"] = (w.embedding, CONTEXT)
    _norm(shapes, "token_embd_norm", w.embedding, bias=True)
    for block in _blocks(w):
        _attention(shapes, block, w, bias=True, out_bias=True)
        _norm(shapes, block + "attn_output_norm", w.embedding, bias=True)
        _feed_forward(shapes, block, w, gate=False, bias=True)
        _norm(shapes, block + "layer_output_norm", w.embedding, bias=True)
    return {"attention.layer_norm_epsilon": 1e-12, "attention.causal": False, "pooling_type": 0,
            "tokenizer.ggml.token_type_count": 2}


def _t5(shapes, w):
    inner, size = w.heads * 64, (w.embedding, VOCABULARY)
    shapes["token_embd.weight"] = size
    shapes["output.weight"] = size
    for side in ("enc", "dec"):
        _norm(shapes, side + ".output_norm", w.embedding)
        for layer in range(w.layers):
            block = f"{side}.blk.{layer}."
            if layer == 0:
                shapes[block + "attn_rel_b.weight"] = (w.heads, 32)
            for attention in ("attn", "cross_attn") if side == "dec" else ("attn",):
                _norm(shapes, f"{block}{attention}_norm", w.embedding)
                for name in ("q", "k", "v"):
                    _matrix(shapes, f"{block}{attention}_{name}", w.embedding, inner)
                _matrix(shapes, f"{block}{attention}_o", inner, w.embedding)
            _norm(shapes, block + "ffn_norm", w.embedding)
            _feed_forward(shapes, block, w)
    return {"attention.layer_norm_rms_epsilon": 1e-6, "attention.relative_buckets_count": 32, "attention.key_length": 64,
            "attention.value_length": 64, "decoder_start_token_id": 0}


ARCHITECTURES = {"llama": _llama, "qwen2": _qwen, "qwen3": _qwen, "gemma2": _gemma, "gemma3": _gemma, "phi3": _phi3, "gpt-oss": _gpt_oss,
                 "deepseek2": _deepseek2, "command-r": _command_r, "falcon": _falcon, "gptneox": _gptneox, "mpt": _mpt,
                 "stablelm": _stablelm, "lfm2": _lfm2, "mamba": _mamba, "mamba2": _mamba2, "rwkv6": _rwkv6, "rwkv7": _rwkv7,
                 "bert": _bert, "t5": _t5}
