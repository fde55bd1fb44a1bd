/* What a model says about static image preprocessing (AIPP) of an input; aipp_info.c tells it, ops_aipp.c executes it. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aipp.h"
#include "model.h"

/* Where the fields of domi.AippOpParams go. */
static const struct {
    const char *name;
    size_t offset;
    enum { INT, BOOL, REAL } kind;
} FIELDS[] = {
    {"input_format", offsetof(aclAippInfo, inputFormat), INT},
    {"src_image_size_w", offsetof(aclAippInfo, srcImageSizeW), INT},
    {"src_image_size_h", offsetof(aclAippInfo, srcImageSizeH), INT},
    {"crop", offsetof(aclAippInfo, cropSwitch), BOOL},
    {"load_start_pos_w", offsetof(aclAippInfo, loadStartPosW), INT},
    {"load_start_pos_h", offsetof(aclAippInfo, loadStartPosH), INT},
    {"crop_size_w", offsetof(aclAippInfo, cropSizeW), INT},
    {"crop_size_h", offsetof(aclAippInfo, cropSizeH), INT},
    {"resize", offsetof(aclAippInfo, resizeSwitch), BOOL},
    {"resize_output_w", offsetof(aclAippInfo, resizeOutputW), INT},
    {"resize_output_h", offsetof(aclAippInfo, resizeOutputH), INT},
    {"padding", offsetof(aclAippInfo, paddingSwitch), BOOL},
    {"left_padding_size", offsetof(aclAippInfo, leftPaddingSize), INT},
    {"right_padding_size", offsetof(aclAippInfo, rightPaddingSize), INT},
    {"top_padding_size", offsetof(aclAippInfo, topPaddingSize), INT},
    {"bottom_padding_size", offsetof(aclAippInfo, bottomPaddingSize), INT},
    {"csc_switch", offsetof(aclAippInfo, cscSwitch), BOOL},
    {"rbuv_swap_switch", offsetof(aclAippInfo, rbuvSwapSwitch), BOOL},
    {"ax_swap_switch", offsetof(aclAippInfo, axSwapSwitch), BOOL},
    {"single_line_mode", offsetof(aclAippInfo, singleLineMode), BOOL},
    {"matrix_r0c0", offsetof(aclAippInfo, matrix[0]), INT},
    {"matrix_r0c1", offsetof(aclAippInfo, matrix[1]), INT},
    {"matrix_r0c2", offsetof(aclAippInfo, matrix[2]), INT},
    {"matrix_r1c0", offsetof(aclAippInfo, matrix[3]), INT},
    {"matrix_r1c1", offsetof(aclAippInfo, matrix[4]), INT},
    {"matrix_r1c2", offsetof(aclAippInfo, matrix[5]), INT},
    {"matrix_r2c0", offsetof(aclAippInfo, matrix[6]), INT},
    {"matrix_r2c1", offsetof(aclAippInfo, matrix[7]), INT},
    {"matrix_r2c2", offsetof(aclAippInfo, matrix[8]), INT},
    {"output_bias_0", offsetof(aclAippInfo, outputBias[0]), INT},
    {"output_bias_1", offsetof(aclAippInfo, outputBias[1]), INT},
    {"output_bias_2", offsetof(aclAippInfo, outputBias[2]), INT},
    {"input_bias_0", offsetof(aclAippInfo, inputBias[0]), INT},
    {"input_bias_1", offsetof(aclAippInfo, inputBias[1]), INT},
    {"input_bias_2", offsetof(aclAippInfo, inputBias[2]), INT},
    {"mean_chn_0", offsetof(aclAippInfo, meanChn[0]), INT},
    {"mean_chn_1", offsetof(aclAippInfo, meanChn[1]), INT},
    {"mean_chn_2", offsetof(aclAippInfo, meanChn[2]), INT},
    {"mean_chn_3", offsetof(aclAippInfo, meanChn[3]), INT},
    {"min_chn_0", offsetof(aclAippInfo, minChn[0]), REAL},
    {"min_chn_1", offsetof(aclAippInfo, minChn[1]), REAL},
    {"min_chn_2", offsetof(aclAippInfo, minChn[2]), REAL},
    {"min_chn_3", offsetof(aclAippInfo, minChn[3]), REAL},
    {"var_reci_chn_0", offsetof(aclAippInfo, varReciChn[0]), REAL},
    {"var_reci_chn_1", offsetof(aclAippInfo, varReciChn[1]), REAL},
    {"var_reci_chn_2", offsetof(aclAippInfo, varReciChn[2]), REAL},
    {"var_reci_chn_3", offsetof(aclAippInfo, varReciChn[3]), REAL},
};

/* A number of the file, as a single value or as a list with one. */
static void read_field(struct view aipp, size_t row, unsigned char *info) {
    int64_t integer = 0, listed;
    bool flag = false;
    float real = 0.0f;
    bool is_real = attr_float(aipp, NAMED_ATTRS, FIELDS[row].name, &real) || attr_float_at(aipp, NAMED_ATTRS, FIELDS[row].name, 0, &real);
    bool is_int = attr_int(aipp, NAMED_ATTRS, FIELDS[row].name, &integer);
    if (!is_int && attr_bool(aipp, NAMED_ATTRS, FIELDS[row].name, &flag)) integer = flag;
    if (!is_int && attr_ints(aipp, NAMED_ATTRS, FIELDS[row].name, &listed, 1) == 1) integer = listed;
    if (is_real && FIELDS[row].kind != REAL) integer = (int64_t)real;
    if (!is_real) real = (float)integer;
    int32_t number = (int32_t)integer;
    int8_t truth = integer != 0;
    switch (FIELDS[row].kind) {
        case INT: memcpy(info + FIELDS[row].offset, &number, sizeof number); break;
        case BOOL: memcpy(info + FIELDS[row].offset, &truth, sizeof truth); break;
        case REAL: memcpy(info + FIELDS[row].offset, &real, sizeof real); break;
    }
}

void aipp_read_info(struct view settings, aclAippInfo *info) {
    for (size_t row = 0; row < sizeof FIELDS / sizeof *FIELDS; row++) read_field(settings, row, (unsigned char *)info);
}

void aipp_read(struct view settings, struct aipp *aipp) {
    char name[] = "var_reci_chn_0";
    struct view attr;
    memset(aipp, 0, sizeof *aipp);
    aipp_read_info(settings, &aipp->info);
    for (int i = 0; i < 4; i++, name[sizeof name - 2]++)
        if (!attr_find(settings, NAMED_ATTRS, name, &attr)) aipp->info.varReciChn[i] = 1.0f;
    attr_float(settings, NAMED_ATTRS, "padding_value", &aipp->padding_value);
}
