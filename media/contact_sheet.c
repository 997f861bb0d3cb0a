/* The sheet is laid out when it is created; frames are scaled straight into their place. */
#include "media/contact_sheet.h"

#include "media/av.h"
#include "media/font.h"
#include "media/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARGIN = 16,     /* pixels around and between pictures */
    TEXT_GAP = 6,    /* pixels between a picture and its time */
    TEXT_SCALE = 2,  /* of times and title */
    COLUMNS_MAX = 6, /* pictures in a row */
    PICTURES_DEFAULT = 12,
    PICTURE_WIDTH_DEFAULT = 256,
};

static const uint8_t background[3] = {22, 24, 28};
static const uint8_t picture_empty[3] = {38, 41, 47};
static const uint8_t stamp_colour[3] = {160, 168, 180};
static const uint8_t title_colour[3] = {235, 238, 242};

struct sora_contact_sheet {
    struct sora_canvas canvas;
    struct SwsContext *scaler;
    int width, height; /* of a frame */
    int picture_width, picture_height;
    int columns, count;
    int top; /* of the first row */
    double interval, fps;
    int64_t frame_count, next_frame;
    int next_picture;
};

/* ---- times ---- */

static double choose_interval(double duration, int count_max)
{
    static const double round_seconds[] = {0.1, 0.2, 0.5, 1,   2,   5,   10,   15,
                                           30,  60,  120, 300, 600, 900, 1800, 3600};
    const int choices = sizeof(round_seconds) / sizeof(round_seconds[0]);
    for (int i = 0; i < choices; i++) {
        if (duration / round_seconds[i] <= count_max)
            return round_seconds[i];
    }
    return 3600 * ceil(duration / 3600 / count_max);
}

/* The frame shown at `picture`: the first that is not before its time. */
static int64_t picture_frame(const struct sora_contact_sheet *sheet, int picture)
{
    return (int64_t)ceil(picture * sheet->interval * sheet->fps - 1e-6);
}

void sora_contact_stamp(double seconds, char out_text[SORA_CONTACT_STAMP_SIZE])
{
    int64_t tenths = (int64_t)(seconds * 10 + 0.5);
    int64_t hours = tenths / 36000, minutes = tenths / 600 % 60;
    double rest = (double)(tenths % 600) / 10;
    if (hours > 0)
        snprintf(out_text, SORA_CONTACT_STAMP_SIZE, "%lld:%02lld:%04.1f", (long long)hours,
                 (long long)minutes, rest);
    else
        snprintf(out_text, SORA_CONTACT_STAMP_SIZE, "%lld:%04.1f", (long long)minutes, rest);
}

/* ---- layout ---- */

/* Fewest empty places, then closest to a sheet of 16:10. */
static int choose_columns(int count, int picture_width, int row_height)
{
    int best = 1;
    double best_cost = INFINITY;
    for (int columns = 1; columns <= COLUMNS_MAX && columns <= count; columns++) {
        int rows = (count + columns - 1) / columns;
        double shape = (double)columns * picture_width / ((double)rows * row_height);
        double cost = fabs(log(shape / 1.6)) + 0.5 * (rows * columns - count);
        if (cost < best_cost) {
            best_cost = cost;
            best = columns;
        }
    }
    return best;
}

static void picture_place(const struct sora_contact_sheet *sheet, int picture, int *out_x,
                          int *out_y)
{
    int text_height = TEXT_GAP + SORA_FONT_HEIGHT * TEXT_SCALE;
    *out_x = MARGIN + picture % sheet->columns * (sheet->picture_width + MARGIN);
    *out_y = sheet->top + picture / sheet->columns * (sheet->picture_height + text_height + MARGIN);
}

static void fill_rectangle(const struct sora_canvas *canvas, int x, int y, int width, int height,
                           const uint8_t colour[3])
{
    for (int row = y; row < y + height; row++) {
        uint8_t *to = canvas->rgb + 3 * ((size_t)row * canvas->width + x);
        for (int i = 0; i < width; i++)
            memcpy(to + 3 * i, colour, 3);
    }
}

static void draw_title(const struct sora_contact_sheet *sheet, const char *title)
{
    struct sora_font_place place = {.x = MARGIN, .y = MARGIN, .scale = TEXT_SCALE};
    memcpy(place.colour, title_colour, 3);
    int room = sheet->canvas.width - 2 * MARGIN;
    char line[1024];
    bool whole = sora_font_fit(title, TEXT_SCALE, room) == strlen(title);
    int dots = whole ? 0 : sora_font_width("...", TEXT_SCALE);
    size_t fits = sora_font_fit(title, TEXT_SCALE, room - dots);
    if (fits > sizeof(line) - 8)
        fits = sizeof(line) - 8;
    snprintf(line, sizeof(line), "%.*s%s", (int)fits, title, whole ? "" : "...");
    sora_font_draw(&sheet->canvas, &place, line);
}

static int lay_out(struct sora_contact_sheet *sheet, const char *title, struct sora_fault *fault)
{
    int text_height = SORA_FONT_HEIGHT * TEXT_SCALE;
    int row_height = sheet->picture_height + TEXT_GAP + text_height + MARGIN;
    bool titled = title && title[0];
    sheet->top = MARGIN + (titled ? text_height + MARGIN : 0);
    sheet->columns = choose_columns(sheet->count, sheet->picture_width + MARGIN, row_height);
    int rows = (sheet->count + sheet->columns - 1) / sheet->columns;
    int64_t width = MARGIN + (int64_t)sheet->columns * (sheet->picture_width + MARGIN);
    int64_t height = sheet->top + (int64_t)rows * row_height;
    if (width > SORA_PICTURE_SIZE_MAX || height > SORA_PICTURE_SIZE_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "a contact sheet of %lldx%lld; the limit is %d: ask for fewer or "
                              "smaller pictures",
                              (long long)width, (long long)height, SORA_PICTURE_SIZE_MAX);
    uint8_t *rgb = malloc((size_t)(width * height * 3));
    if (!rgb)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the contact sheet");
    sheet->canvas = (struct sora_canvas){rgb, (int)width, (int)height};
    fill_rectangle(&sheet->canvas, 0, 0, (int)width, (int)height, background);
    if (titled)
        draw_title(sheet, title);
    for (int i = 0; i < sheet->count; i++) {
        int x, y;
        picture_place(sheet, i, &x, &y);
        fill_rectangle(&sheet->canvas, x, y, sheet->picture_width, sheet->picture_height,
                       picture_empty);
        char text[SORA_CONTACT_STAMP_SIZE];
        sora_contact_stamp((double)picture_frame(sheet, i) / sheet->fps, text);
        struct sora_font_place place = {
            .x = x, .y = y + sheet->picture_height + TEXT_GAP, .scale = TEXT_SCALE};
        memcpy(place.colour, stamp_colour, 3);
        sora_font_draw(&sheet->canvas, &place, text);
    }
    return SORA_OK;
}

/* ---- life ---- */

static int check_params(const struct sora_contact_sheet_params *params, struct sora_fault *fault)
{
    const struct sora_bound bounds[] = {
        {"frame width", params->width, 1, SORA_PICTURE_SIZE_MAX},
        {"frame height", params->height, 1, SORA_PICTURE_SIZE_MAX},
        {"frame count", params->frame_count, 1, INT32_MAX},
        {"frame rate", params->fps, 1, 1000000},
        {"frame rate divisor", params->fps_divisor, 0, 1000000},
        {"picture count", params->picture_count_max, 0, SORA_CONTACT_PICTURES_MAX},
        {"picture width", params->picture_width ? params->picture_width : 96, 96, 1024},
    };
    return sora_fault_bounds("contact sheet", bounds, sizeof(bounds) / sizeof(bounds[0]), fault);
}

static int open_scaler(struct sora_contact_sheet *sheet, struct sora_fault *fault)
{
    struct sora_av_picture frame = {.width = sheet->width,
                                    .height = sheet->height,
                                    .format = AV_PIX_FMT_RGB24,
                                    .coefficients = AVCOL_SPC_BT709};
    struct sora_av_picture picture = frame;
    picture.width = sheet->picture_width;
    picture.height = sheet->picture_height;
    return sora_av_converter(&frame, &picture, &sheet->scaler, fault);
}

int sora_contact_sheet_create(const struct sora_contact_sheet_params *params,
                              struct sora_contact_sheet **out_sheet, struct sora_fault *fault)
{
    int rc = check_params(params, fault);
    if (rc)
        return rc;
    struct sora_contact_sheet *sheet = calloc(1, sizeof(*sheet));
    if (!sheet)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the contact sheet");
    int count_max = params->picture_count_max ? params->picture_count_max : PICTURES_DEFAULT;
    sheet->width = params->width;
    sheet->height = params->height;
    sheet->frame_count = params->frame_count;
    sheet->fps = (double)params->fps / (params->fps_divisor ? params->fps_divisor : 1);
    sheet->interval = choose_interval((double)params->frame_count / sheet->fps, count_max);
    sheet->picture_width = params->picture_width ? params->picture_width : PICTURE_WIDTH_DEFAULT;
    double shape = (double)params->height / params->width;
    sheet->picture_height = (int)fmax(1, round(sheet->picture_width * shape));
    while (sheet->count < count_max && picture_frame(sheet, sheet->count) < params->frame_count)
        sheet->count++;
    rc = lay_out(sheet, params->title, fault);
    if (!rc)
        rc = open_scaler(sheet, fault);
    if (rc) {
        sora_contact_sheet_destroy(&sheet);
        return rc;
    }
    *out_sheet = sheet;
    return SORA_OK;
}

void sora_contact_sheet_destroy(struct sora_contact_sheet **sheet)
{
    if (!*sheet)
        return;
    sws_freeContext((*sheet)->scaler);
    free((*sheet)->canvas.rgb);
    free(*sheet);
    *sheet = NULL;
}

void sora_contact_sheet_add(struct sora_contact_sheet *sheet, const uint8_t *rgb)
{
    int64_t frame = sheet->next_frame++;
    if (sheet->next_picture >= sheet->count || frame != picture_frame(sheet, sheet->next_picture))
        return;
    int x, y;
    picture_place(sheet, sheet->next_picture++, &x, &y);
    const uint8_t *const from[4] = {rgb};
    const int from_strides[4] = {3 * sheet->width};
    uint8_t *const to[4] = {sheet->canvas.rgb + 3 * ((size_t)y * sheet->canvas.width + x)};
    const int to_strides[4] = {3 * sheet->canvas.width};
    sws_scale(sheet->scaler, from, from_strides, 0, sheet->height, to, to_strides);
}

int sora_contact_sheet_write(const struct sora_contact_sheet *sheet, const char *path,
                             struct sora_fault *fault)
{
    return sora_picture_write(path, sheet->canvas.width, sheet->canvas.height, sheet->canvas.rgb,
                              fault);
}

int sora_contact_sheet_count(const struct sora_contact_sheet *sheet)
{
    return sheet->count;
}

double sora_contact_sheet_interval(const struct sora_contact_sheet *sheet)
{
    return sheet->interval;
}
