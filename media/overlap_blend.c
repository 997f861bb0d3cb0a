/* One window after the other through the colour tables, shared frames through the ramp. */
#include "media/overlap_blend.h"

#include <stdlib.h>
#include <string.h>

#define SIDE_MAX 16384

struct sora_overlap_blend {
    struct sora_blend_window *windows; /* owned copies */
    struct sora_colour_correction *corrections;
    int window_count;
    size_t pixels;
    float *kept; /* [longest overlap][pixels*3]: corrected frames of the window before */
    int window;
    int32_t frame;       /* of the timeline; the next one of `window` */
    float table[3][256]; /* of `window` */
};

float sora_overlap_blend_share(int index, int count)
{
    float t = (float)(index + 1) / (float)(count + 1);
    return t * t * (3 - 2 * t);
}

/* ---- life ---- */

static int check_windows(const struct sora_overlap_blend_params *params, struct sora_fault *fault)
{
    const struct sora_blend_window *windows = params->windows;
    for (int k = 0; k < params->window_count; k++) {
        bool good = windows[k].first < windows[k].end;
        if (k == 0)
            good = good && windows[k].first == 0;
        else
            good = good && windows[k].first > windows[k - 1].first &&
                   windows[k].first <= windows[k - 1].end && windows[k].end > windows[k - 1].end;
        if (k >= 2)
            good = good && windows[k].first >= windows[k - 2].end;
        if (!good)
            return sora_fault_set(
                fault, SORA_E_INVALID,
                "blend: window %d is frames %d to %d; windows must ascend without "
                "gaps, and only neighbours may overlap",
                k, windows[k].first, windows[k].end);
    }
    return SORA_OK;
}

static int check_params(const struct sora_overlap_blend_params *params, struct sora_fault *fault)
{
    if (params->width < 1 || params->width > SIDE_MAX || params->height < 1 ||
        params->height > SIDE_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "blend: frames of %dx%d; a side must be 1 to %d", params->width,
                              params->height, SIDE_MAX);
    if (params->window_count < 1 || params->window_count > SORA_COLOUR_WINDOWS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "blend: %d windows; it must be 1 to %d",
                              params->window_count, SORA_COLOUR_WINDOWS_MAX);
    return check_windows(params, fault);
}

/* Frames that window k shares with the next one. */
static int32_t shared(const struct sora_overlap_blend *blend, int k)
{
    if (k < 0 || k + 1 >= blend->window_count)
        return 0;
    return blend->windows[k].end - blend->windows[k + 1].first;
}

static void enter_window(struct sora_overlap_blend *blend, int k)
{
    blend->window = k;
    if (k == blend->window_count)
        return;
    blend->frame = blend->windows[k].first;
    sora_colour_table(&blend->corrections[k], blend->table);
}

/* Room for the windows, and for as many frames as two of them share at most. */
static int allocate(struct sora_overlap_blend *blend,
                    const struct sora_overlap_blend_params *params)
{
    size_t count = (size_t)params->window_count;
    blend->window_count = params->window_count;
    blend->pixels = (size_t)params->width * (size_t)params->height;
    blend->windows = calloc(count, sizeof(*blend->windows));
    blend->corrections = calloc(count, sizeof(*blend->corrections));
    if (!blend->windows || !blend->corrections)
        return SORA_E_MEMORY;
    memcpy(blend->windows, params->windows, count * sizeof(*blend->windows));
    int32_t longest = 0;
    for (int k = 0; k < params->window_count; k++)
        longest = shared(blend, k) > longest ? shared(blend, k) : longest;
    if (longest > 0)
        blend->kept = calloc((size_t)longest, blend->pixels * 3 * sizeof(float));
    return longest > 0 && !blend->kept ? SORA_E_MEMORY : SORA_OK;
}

int sora_overlap_blend_create(const struct sora_overlap_blend_params *params,
                              struct sora_overlap_blend **out_blend, struct sora_fault *fault)
{
    int rc = check_params(params, fault);
    if (rc)
        return rc;
    struct sora_overlap_blend *blend = calloc(1, sizeof(*blend));
    rc = blend ? allocate(blend, params) : SORA_E_MEMORY;
    if (rc) {
        sora_overlap_blend_destroy(&blend);
        return sora_fault_set(fault, rc, "not enough memory to blend overlaps of %dx%d frames",
                              params->width, params->height);
    }
    const struct sora_colour_correction none = {.gain = {1, 1, 1}};
    for (int k = 0; k < params->window_count; k++)
        blend->corrections[k] = params->corrections ? params->corrections[k] : none;
    enter_window(blend, 0);
    *out_blend = blend;
    return SORA_OK;
}

void sora_overlap_blend_destroy(struct sora_overlap_blend **blend)
{
    struct sora_overlap_blend *b = *blend;
    if (!b)
        return;
    free(b->windows);
    free(b->corrections);
    free(b->kept);
    free(b);
    *blend = NULL;
}

/* ---- frames ---- */

static float *kept_frame(const struct sora_overlap_blend *blend, int32_t index)
{
    return blend->kept + (size_t)index * blend->pixels * 3;
}

static void keep(struct sora_overlap_blend *blend, const uint8_t *rgb, float *out_values)
{
    for (size_t i = 0; i < blend->pixels; i++) {
        for (size_t c = 0; c < 3; c++)
            out_values[3 * i + c] = blend->table[c][rgb[3 * i + c]];
    }
}

/* `left` may be NULL: nothing to blend with. One rounding at the end. */
static void put(struct sora_overlap_blend *blend, const uint8_t *rgb, const float *left,
                float share, uint8_t *out_rgb)
{
    for (size_t i = 0; i < blend->pixels; i++) {
        for (size_t c = 0; c < 3; c++) {
            float value = blend->table[c][rgb[3 * i + c]];
            if (left)
                value = left[3 * i + c] + share * (value - left[3 * i + c]);
            out_rgb[3 * i + c] = (uint8_t)(value + 0.5F);
        }
    }
}

int sora_overlap_blend_add(struct sora_overlap_blend *blend, const uint8_t *rgb, uint8_t *out_rgb,
                           bool *out_got, struct sora_fault *fault)
{
    int k = blend->window;
    if (k == blend->window_count)
        return sora_fault_set(fault, SORA_E_INVALID, "blend: a frame after the last one");
    const struct sora_blend_window *window = &blend->windows[k];
    int32_t before = shared(blend, k - 1), after = shared(blend, k);
    int32_t index = blend->frame - window->first, from_end = window->end - blend->frame;
    *out_got = from_end > after;
    if (!*out_got)
        keep(blend, rgb, kept_frame(blend, after - from_end));
    else if (index < before)
        put(blend, rgb, kept_frame(blend, index), sora_overlap_blend_share(index, before), out_rgb);
    else
        put(blend, rgb, NULL, 0, out_rgb);
    if (++blend->frame == window->end)
        enter_window(blend, k + 1);
    return SORA_OK;
}
