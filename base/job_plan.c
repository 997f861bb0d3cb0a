/* Job plans: ranges, rounding, takes and the memory that follows from the model's dimensions. */
#include "base/job_plan.h"

#include "base/job_notes.h"

#include <math.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define FACTS_HEAD_SIZE 128 /* of published models; smaller heads need less */
#define CARD_EDGES 1.15     /* of a transformer beside its blocks' matrices, at most */
/* Of the reference machine (docs/BENCHMARKS.md): one thread does 78e9 in mini's transformer and
 * 96e9 in a large one. The decoder's time is mini's for a pixel and a byte of weights, which grow
 * alike with the widths; a large one takes less, and is little beside its transformer. */
#define THREAD_OPERATIONS_PER_S 85e9
#define PIXEL_BYTE_S 2.6e-13
#define TEXT_KEYS_GUESS 64 /* a prompt's tokens */
#define TEXT_KEYS_MAX 513  /* 512 rows of a text and one for all padding */
/* Tokens whose hidden rows exist at a time; more where that takes no more memory. */
#define FFN_ROWS_MIN 2048
/* A card's library of products (hip/gpu/ops_blas.c): from so many rows and columns on, with at most
 * so many bytes of workspace, rounded rows and sums. */
#define LIBRARY_ROWS_MIN 512
#define LIBRARY_BYTES ((double)(32 << 20))
#define LIBRARY_ROUNDED_BYTES ((double)(256 << 20))
#define LIBRARY_SUMS_BYTES ((double)(128 << 20))

struct range {
    const char *name;
    double value, min, max;
};

static int check_ranges(const char *of, const struct range *ranges, size_t count,
                        struct sora_fault *fault)
{
    for (size_t i = 0; i < count; i++) {
        const struct range *range = &ranges[i];
        if (!(range->value >= range->min && range->value <= range->max))
            return sora_fault_set(fault, SORA_E_LIMIT, "%s%s: %g is outside %g to %g", of,
                                  range->name, range->value, range->min, range->max);
    }
    return 0;
}

int sora_model_facts_check(const struct sora_model_facts *facts, struct sora_fault *fault)
{
    const struct range ranges[] = {
        {"window", facts->window, 3, 1024},
        {"overlap", facts->overlap, 1, facts->window - 2},
        {"channels", facts->channels, 1, 256},
        {"temporal_factor", facts->temporal_factor, 1, 16},
        {"spatial_factor", facts->spatial_factor, 1, 64},
        {"multiple_width", facts->multiple_width, facts->spatial_factor, 1024},
        {"multiple_height", facts->multiple_height, facts->spatial_factor, 1024},
        {"width", facts->width, 16, 8192},
        {"height", facts->height, 16, 8192},
        {"fps", facts->fps, 1, SORA_JOB_FPS_MAX},
        {"steps", facts->steps, 1, 1000},
        {"guidance", facts->guidance, 1, 100},
        {"shift", facts->shift, 0.01, 100},
        {"solver", facts->solver, 0, SORA_SOLVER_KIND_COUNT - 1},
        {"noise_share", facts->noise_share, 0.01, 1},
        {"context_latents", facts->context_latents, 0, 1024},
        {"hidden", facts->hidden, 1, 65536},
        {"ffn", facts->ffn, 1, 262144},
        {"layers", facts->layers, 1, 1024},
        {"decode_pixel_bytes", facts->decode_pixel_bytes, 0, 1 << 24},
        {"weight_bytes", (double)facts->weight_bytes, 0, (double)(INT64_MAX / 4)},
        {"text_weight_bytes", (double)facts->text_weight_bytes, 0, (double)facts->weight_bytes},
        {"vae_weight_bytes", (double)facts->vae_weight_bytes, 0, (double)facts->weight_bytes},
    };
    return check_ranges("model: ", ranges, COUNT_OF(ranges), fault);
}

static double number_or(double asked, double fallback)
{
    return isnan(asked) || asked == 0 ? fallback : asked;
}

static int32_t whole_or(int32_t asked, int32_t fallback)
{
    return asked == 0 ? fallback : asked;
}

/* What is asked or the model's own, each within its range. */
static int plan_settings(const struct sora_job_ask *ask, const struct sora_model_facts *facts,
                         struct sora_job_plan *plan, struct sora_fault *fault)
{
    plan->fps = number_or(ask->fps, facts->fps);
    plan->steps = whole_or(ask->steps, facts->steps);
    plan->guidance = number_or(ask->guidance, facts->guidance);
    plan->shift = number_or(ask->shift, facts->shift);
    plan->noise_share = number_or(ask->noise_share, facts->noise_share);
    plan->solver = ask->solver < 0 ? facts->solver : ask->solver;
    plan->noise_kind = ask->noise_kind < 0 ? SORA_NOISE_SHARED_MEAN : ask->noise_kind;
    plan->channels = facts->channels;
    const struct range ranges[] = {
        {"fps", plan->fps, 1, SORA_JOB_FPS_MAX},
        {"steps", plan->steps, 1, 1000},
        {"guidance", plan->guidance, 1, 100},
        {"shift", plan->shift, 0.01, 100},
        {"noise_share", plan->noise_share, 0.01, 1},
        {"solver", plan->solver, 0, SORA_SOLVER_KIND_COUNT - 1},
        {"noise_kind", plan->noise_kind, 0, SORA_NOISE_KIND_COUNT - 1},
    };
    return check_ranges("", ranges, COUNT_OF(ranges), fault);
}

static int32_t round_to(int32_t value, int32_t multiple)
{
    int32_t rounded = (value + multiple / 2) / multiple * multiple;
    return rounded < multiple ? multiple : rounded;
}

static int plan_size(const struct sora_job_ask *ask, const struct sora_model_facts *facts,
                     struct sora_job_plan *plan, struct sora_job_notes *notes,
                     struct sora_fault *fault)
{
    int32_t width = whole_or(ask->width, facts->width);
    int32_t height = whole_or(ask->height, facts->height);
    const struct range ranges[] = {{"width", width, 1, 8192}, {"height", height, 1, 8192}};
    int error = check_ranges("", ranges, COUNT_OF(ranges), fault);
    if (error)
        return error;
    plan->width = round_to(width, facts->multiple_width);
    plan->height = round_to(height, facts->multiple_height);
    if (plan->width != width || plan->height != height)
        sora_job_note(notes, "%dx%d becomes %dx%d: this model makes multiples of %dx%d", width,
                      height, plan->width, plan->height, facts->multiple_width,
                      facts->multiple_height);
    plan->latent_width = plan->width / facts->spatial_factor;
    plan->latent_height = plan->height / facts->spatial_factor;
    return 0;
}

/* Frames that a shot asks for, before rounding. */
static int shot_frames(const struct sora_job_ask *ask, int32_t index, double fps,
                       double *out_frames, struct sora_fault *fault)
{
    const struct sora_job_ask_shot *shot = &ask->shots[index];
    bool by_seconds = !isnan(shot->seconds) && shot->seconds != 0;
    char place[24] = "";
    if (ask->shot_count > 1)
        snprintf(place, sizeof(place), "shot %d: ", index + 1);
    if (shot->frames != 0 && by_seconds)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "%sboth --frames and --seconds are given; give one of them", place);
    if (shot->frames == 0 && !by_seconds)
        return sora_fault_set(fault, SORA_E_INVALID, "%sno length: give --seconds or --frames",
                              place);
    double frames = by_seconds ? shot->seconds * fps : (double)shot->frames;
    if (!(frames > 0))
        return sora_fault_set(fault, SORA_E_LIMIT, "%sa length of %g frames; it must be positive",
                              place, frames);
    if (by_seconds && frames > SORA_JOB_FRAMES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "%s%g seconds at %g fps are %.0f frames; the limit is %d", place,
                              shot->seconds, fps, frames, SORA_JOB_FRAMES_MAX);
    if (frames > SORA_JOB_FRAMES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%s%.0f frames; the limit is %d", place, frames,
                              SORA_JOB_FRAMES_MAX);
    *out_frames = frames;
    return 0;
}

/* The latent whose frames begin nearest to `frame`. */
static int32_t nearest_latent(double frame, int32_t factor)
{
    double extra = floor((frame - 1) / factor + 0.5);
    return extra > 0 ? (int32_t)extra + 1 : (frame > 0.5 ? 1 : 0);
}

/* Adds the shots of one take, from `*shot` to the next cut, as texts that begin at a latent each.
 * Returns the frames that they ask for. */
static int gather_texts(const struct sora_job_ask *ask, int32_t factor, struct sora_job_plan *plan,
                        struct sora_job_take *take, int32_t *shot, double *out_frames,
                        struct sora_fault *fault)
{
    double total = 0;
    int32_t latent = 0;
    take->text_first = plan->text_count;
    do {
        double frames = 0;
        int error = shot_frames(ask, *shot, plan->fps, &frames, fault);
        if (error)
            return error;
        int32_t nearest = take->text_count > 0 ? nearest_latent(total, factor) : 0;
        latent = take->text_count > 0 && nearest <= latent ? latent + 1 : nearest;
        plan->texts[plan->text_count++] =
            (struct sora_job_text){.latents = {latent, latent}, .shot = *shot};
        take->text_count++;
        total += frames;
        ++*shot;
    } while (*shot < ask->shot_count && !ask->shots[*shot].cut);
    *out_frames = total;
    return 0;
}

/* Every text ends where the next begins; the timeline has at least a latent for each. */
static void close_texts(struct sora_job_plan *plan, struct sora_job_take *take)
{
    struct sora_job_text *texts = &plan->texts[take->text_first];
    int32_t last = take->text_count - 1;
    if (take->timeline.latent_count <= texts[last].latents.first)
        take->timeline.latent_count = texts[last].latents.first + 1;
    for (int32_t i = 0; i <= last; i++)
        texts[i].latents.end = i < last ? texts[i + 1].latents.first : take->timeline.latent_count;
}

/* The whole job is one take: its length becomes the nearest that the model can do. */
static void note_length(const struct sora_job_ask *ask, const struct sora_job_plan *plan,
                        const struct sora_job_take *take, double asked, int32_t factor,
                        struct sora_job_notes *notes)
{
    bool by_frames = true;
    for (int32_t i = 0; i < ask->shot_count; i++)
        by_frames = by_frames && ask->shots[i].frames != 0;
    if (by_frames && take->frame_count != (int32_t)asked)
        sora_job_note(notes, "%d frames become %d: this model makes %dn+1", (int)asked,
                      take->frame_count, factor);
    if (!by_frames && fabs(asked - take->frame_count) > 1.0)
        sora_job_note(notes, "%g s become %d frames, %.2f s: this model makes %dn+1 frames",
                      ask->shot_count == 1 ? ask->shots[0].seconds : asked / plan->fps,
                      take->frame_count, take->frame_count / plan->fps, factor);
}

static int add_take(const struct sora_job_ask *ask, const struct sora_model_facts *facts,
                    struct sora_job_plan *plan, int32_t *shot, double *out_asked,
                    struct sora_fault *fault)
{
    struct sora_job_take *take = &plan->takes[plan->take_count++];
    int32_t factor = facts->temporal_factor;
    *take = (struct sora_job_take){
        .frame_first = plan->frame_count,
        .seed = ask->shots[*shot].seed,
        .timeline = {.window_latents = facts->window,
                     .overlap_latents = whole_or(ask->overlap, facts->overlap)}};
    bool first = plan->take_count == 1;
    int error = gather_texts(ask, factor, plan, take, shot, out_asked, fault);
    if (error)
        return error;
    bool alone = first && *shot == ask->shot_count;
    if (*out_asked + plan->frame_count > SORA_JOB_FRAMES_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "the shots have %.0f frames together; the limit is %d",
                              *out_asked + plan->frame_count, SORA_JOB_FRAMES_MAX);
    if (alone) {
        double extra = floor((*out_asked - 1) / factor + 0.5);
        take->timeline.latent_count = extra > 0 ? (int32_t)extra + 1 : 1;
    } else {
        take->frame_count = *out_asked < 1 ? 1 : (int32_t)floor(*out_asked + 0.5);
        take->timeline.latent_count = (take->frame_count - 1 + factor - 1) / factor + 1;
    }
    close_texts(plan, take);
    take->frames_made = (take->timeline.latent_count - 1) * factor + 1;
    if (alone)
        take->frame_count = take->frames_made;
    plan->frame_count += take->frame_count;
    return sora_timeline_check(&take->timeline, fault);
}

static int plan_takes(const struct sora_job_ask *ask, const struct sora_model_facts *facts,
                      struct sora_job_plan *plan, struct sora_job_notes *notes,
                      struct sora_fault *fault)
{
    if (ask->shot_count < 1 || ask->shot_count > SORA_JOB_SHOTS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%d shots; a job has 1 to %d", ask->shot_count,
                              SORA_JOB_SHOTS_MAX);
    if (!ask->shots[0].cut)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "shot 1: cut is false, but there is no shot before it");
    double asked = 0;
    for (int32_t shot = 0; shot < ask->shot_count;) {
        int error = add_take(ask, facts, plan, &shot, &asked, fault);
        if (error)
            return error;
    }
    if (plan->take_count == 1)
        note_length(ask, plan, &plan->takes[0], asked, facts->temporal_factor, notes);
    return 0;
}

/* One window's pass: rope tables, residual and rows, queries, keys and values or hidden rows or
 * patches, whichever is largest (model/transformer_plan.c). */
static double pass_bytes(const struct sora_model_facts *facts, const struct sora_job_plan *plan,
                         int32_t window)
{
    double tokens = (double)window * (plan->width / facts->multiple_width) *
                    (plan->height / facts->multiple_height);
    double rows = tokens < FFN_ROWS_MIN ? tokens : FFN_ROWS_MIN;
    double patch = (double)facts->channels * (facts->multiple_width / facts->spatial_factor) *
                   (facts->multiple_height / facts->spatial_factor);
    double heads = facts->hidden < FACTS_HEAD_SIZE ? facts->hidden : FACTS_HEAD_SIZE;
    double part = 3 * tokens * facts->hidden;
    part = fmax(part, rows * facts->ffn);
    part = fmax(part, tokens * patch);
    return sizeof(float) * (tokens * heads + 2 * tokens * facts->hidden + part);
}

/* The greatest product of a library, which adds hidden rows' sums to the residual. */
static double library_bytes(double tokens, double hidden, double ffn, double rows)
{
    if (tokens < LIBRARY_ROWS_MIN || hidden < LIBRARY_ROWS_MIN)
        return 0;
    rows = fmin(tokens, fmax(rows, 3 * tokens * hidden / ffn));
    rows = fmin(rows, fmax(LIBRARY_ROUNDED_BYTES / (2 * ffn), 128));
    return LIBRARY_BYTES + 2 * rows * ffn + fmin(4 * rows * hidden, LIBRARY_SUMS_BYTES);
}

/* What node/device_plan.c counts on a card, from what the facts tell: the greater of sampling and
 * of decoding frame by frame, for which the other's weights leave. Weights in f32 take half there,
 * and so do the decoder's past frames; its scratch takes a third. */
static double card_bytes(const struct sora_model_facts *facts, const struct sora_job_plan *plan,
                         int32_t window, bool is_int8)
{
    double tokens = (double)window * (plan->width / facts->multiple_width) *
                    (plan->height / facts->multiple_height);
    double rows = tokens < FFN_ROWS_MIN ? tokens : FFN_ROWS_MIN;
    double hidden = facts->hidden, ffn = facts->ffn;
    double contexts = 2.0 * 2 * facts->layers * TEXT_KEYS_MAX * hidden * sizeof(float);
    double rounded = 2.0 * fmax(3 * tokens * hidden, rows * ffn);
    rounded = fmax(rounded, library_bytes(tokens, hidden, ffn, rows));
    double stored = (double)facts->weight_bytes - (double)facts->text_weight_bytes -
                    (double)facts->vae_weight_bytes;
    double matrices = 2.0 * facts->layers * (8 * hidden * hidden + 2 * hidden * ffn);
    double weights = fmin(stored, CARD_EDGES * matrices) - (is_int8 ? matrices / 2 : 0);
    double sampling = fmax(weights, 0) + contexts + rounded + pass_bytes(facts, plan, window);
    double decoding = (double)facts->vae_weight_bytes / 2 +
                      (double)plan->width * plan->height * facts->decode_pixel_bytes / 2;
    return fmax(sampling, decoding);
}

/* Multiplications and additions of the transformer for one window: projections, attention over the
 * window and over the text, feed-forward. */
static double pass_operations(const struct sora_model_facts *facts,
                              const struct sora_job_plan *plan, int32_t window)
{
    double tokens = (double)window * (plan->width / facts->multiple_width) *
                    (plan->height / facts->multiple_height);
    double hidden = facts->hidden;
    double layer = 12 * tokens * hidden * hidden + 4 * tokens * tokens * hidden +
                   4 * tokens * TEXT_KEYS_GUESS * hidden + 4 * tokens * hidden * facts->ffn;
    return facts->layers * layer;
}

static void plan_times(const struct sora_model_facts *facts, struct sora_job_plan *plan,
                       int32_t window)
{
    double passes = plan->guidance > 1 ? 2 : 1;
    double pixels = (double)plan->width * plan->height * facts->temporal_factor;
    plan->window_thread_s = passes * pass_operations(facts, plan, window) / THREAD_OPERATIONS_PER_S;
    plan->decode_thread_s = pixels * (double)facts->vae_weight_bytes * PIXEL_BYTE_S;
}

static void plan_memory(const struct sora_model_facts *facts, struct sora_job_plan *plan)
{
    int32_t window = 1, covering = 1;
    for (int32_t i = 0; i < plan->take_count; i++) {
        const struct sora_timeline_params *timeline = &plan->takes[i].timeline;
        int32_t stride = timeline->window_latents - 1 - timeline->overlap_latents;
        bool several = timeline->latent_count > timeline->window_latents;
        int32_t length = several ? timeline->window_latents : timeline->latent_count;
        window = length > window ? length : window;
        /* The last window is shifted back over the one before it. */
        if (several)
            covering = (timeline->window_latents - 1 + stride - 1) / stride + 1;
    }
    double pixels = (double)plan->width * plan->height;
    double latent =
        (double)sizeof(float) * plan->channels * plan->latent_height * plan->latent_width;
    int parts = plan->solver == SORA_SOLVER_UNIPC ? 5 : 2;
    plan_times(facts, plan, window);
    plan->text_bytes = (int64_t)facts->text_weight_bytes;
    plan->weight_bytes = (int64_t)facts->weight_bytes - plan->text_bytes;
    plan->activation_bytes =
        (int64_t)(pass_bytes(facts, plan, window) + pixels * facts->decode_pixel_bytes);
    plan->card_bytes = (int64_t)card_bytes(facts, plan, window, false);
    plan->card_int8_bytes = (int64_t)card_bytes(facts, plan, window, true);
    plan->state_latent_bytes = (int64_t)(latent * (parts + covering));
    plan->halo_latent_bytes = (int64_t)latent;
}

int sora_job_plan_make(const struct sora_job_ask *ask, const struct sora_model_facts *facts,
                       struct sora_job_plan *out_plan, struct sora_job_notes *out_notes,
                       struct sora_fault *fault)
{
    struct sora_job_plan plan = {0};
    struct sora_job_notes notes = *out_notes;
    int error = plan_settings(ask, facts, &plan, fault);
    if (!error)
        error = plan_takes(ask, facts, &plan, &notes, fault);
    if (!error)
        error = plan_size(ask, facts, &plan, &notes, fault);
    if (error)
        return error;
    plan_memory(facts, &plan);
    *out_plan = plan;
    *out_notes = notes;
    return 0;
}

void sora_job_frame_rate(double fps, int32_t *out_number, int32_t *out_divisor)
{
    double rounded = floor(fps + 0.5);
    bool whole = fabs(fps - rounded) < 1e-9;
    bool ntsc = !whole && fabs(fps - rounded * 1000 / 1001) < 0.005;
    *out_divisor = whole ? 1 : ntsc ? 1001 : 1000;
    *out_number = whole ? (int32_t)rounded : (int32_t)floor((ntsc ? rounded : fps) * 1000 + 0.5);
}

int32_t sora_job_plan_window_text(const struct sora_job_plan *plan, int32_t take,
                                  const struct sora_window *window)
{
    SORA_ASSERT(take >= 0 && take < plan->take_count);
    const struct sora_job_take *of = &plan->takes[take];
    int32_t middle = sora_timeline_window_centre(window);
    int32_t found = of->text_first;
    for (int32_t i = of->text_first; i < of->text_first + of->text_count; i++) {
        if (plan->texts[i].latents.first <= middle)
            found = i;
    }
    return found;
}

static double number_asked(double value)
{
    return isnan(value) ? 0 : value;
}

static int32_t whole_asked(int64_t value)
{
    return value == SORA_SETTING_INT_UNSET ? 0 : (int32_t)value;
}

void sora_job_ask_from_options(const struct sora_job_options *options,
                               struct sora_job_ask_shot *shots, struct sora_job_ask *out_ask)
{
    const struct sora_job_shot alone = {.prompt = options->prompt,
                                        .negative = options->negative,
                                        .seconds = options->seconds,
                                        .frames = options->frames,
                                        .seed = options->seed,
                                        .cut = -1};
    const struct sora_job_shot *from = options->shot_count > 0 ? options->shots : &alone;
    int32_t count = options->shot_count > 0 ? options->shot_count : 1;
    SORA_ASSERT(count <= SORA_JOB_SHOTS_MAX);
    for (int32_t i = 0; i < count; i++) {
        int64_t seed = from[i].seed == SORA_SETTING_INT_UNSET ? options->seed : from[i].seed;
        shots[i] = (struct sora_job_ask_shot){
            .prompt = from[i].prompt,
            .negative = from[i].negative ? from[i].negative : options->negative,
            .seconds = number_asked(from[i].seconds),
            .frames = whole_asked(from[i].frames),
            .seed = seed == SORA_SETTING_INT_UNSET ? 0 : (uint64_t)seed,
            .cut = from[i].cut != 0,
        };
    }
    *out_ask = (struct sora_job_ask){
        .shot_count = count,
        .shots = shots,
        .width = options->size.width,
        .height = options->size.height,
        .fps = number_asked(options->fps),
        .steps = whole_asked(options->steps),
        .overlap = whole_asked(options->overlap),
        .guidance = options->guidance,
        .shift = options->shift,
        .noise_share = options->noise_share,
        .solver = options->solver,
        .noise_kind = options->noise_kind,
    };
}
