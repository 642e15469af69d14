// SPDX-License-Identifier: MIT
/* The interface that the simulator implements: the public headers of ../include, with every enumeration as
 * the plain integer that callers really pass, and with its layout held in place.
 *
 * Names and forms are the vendor runtime's, not ours: what the headers say is a contract between binaries.
 */
#ifndef RKNNSIM_RKNN_ABI_H
#define RKNNSIM_RKNN_ABI_H

#define RKNNSIM_PLAIN_INTEGERS
#include <stddef.h>

#include "include/rknn_matmul_api.h"

#ifdef __cplusplus
static_assert(sizeof(void*) == 8, "the simulator is for 64-bit systems");
static_assert(sizeof(rknn_matmul_info) == 64);
static_assert(offsetof(rknn_matmul_info, type) == 12 && offsetof(rknn_matmul_info, B_layout) == 16);
static_assert(offsetof(rknn_matmul_info, B_quant_type) == 18 && offsetof(rknn_matmul_info, AC_layout) == 20);
static_assert(offsetof(rknn_matmul_info, AC_quant_type) == 22);
static_assert(offsetof(rknn_matmul_info, iommu_domain_id) == 24);
static_assert(offsetof(rknn_matmul_info, group_size) == 28 && offsetof(rknn_matmul_info, reserved) == 30);
static_assert(sizeof(rknn_matmul_tensor_attr) == 332);
static_assert(offsetof(rknn_matmul_tensor_attr, n_dims) == 256 &&
              offsetof(rknn_matmul_tensor_attr, dims) == 260);
static_assert(offsetof(rknn_matmul_tensor_attr, size) == 324 &&
              offsetof(rknn_matmul_tensor_attr, type) == 328);
static_assert(sizeof(rknn_matmul_io_attr) == 996);
static_assert(sizeof(rknn_matmul_shape) == 12);
static_assert(sizeof(rknn_quant_params) == 288);
static_assert(offsetof(rknn_quant_params, scale) == 256 && offsetof(rknn_quant_params, scale_len) == 264);
static_assert(offsetof(rknn_quant_params, zp) == 272 && offsetof(rknn_quant_params, zp_len) == 280);
static_assert(sizeof(rknn_tensor_mem) == 40);
static_assert(offsetof(rknn_tensor_mem, phys_addr) == 8 && offsetof(rknn_tensor_mem, fd) == 16);
static_assert(offsetof(rknn_tensor_mem, offset) == 20 && offsetof(rknn_tensor_mem, size) == 24);
static_assert(offsetof(rknn_tensor_mem, flags) == 28 && offsetof(rknn_tensor_mem, priv_data) == 32);
static_assert(sizeof(rknn_sdk_version) == 512);
#endif

#endif
