/*
 * The scheduler: a lane runs until it parks with an operation, its operands staying on its own
 * stack. When all lanes of a wave are parked, they must be parked by the same operation at the same
 * place; the operation is then done for all of them at once (emulator_wave.c) and they go on.
 */
#include "hip/gpu/emulator_internal.h"

#include "hip/gpu/emulator.h"

#include <stdlib.h>
#include <string.h>

struct sora_emulator {
    struct sora_emulator_lane *lanes; /* owned; fibers of the first `fiber_count` are mapped */
    int fiber_count;
    const struct sora_emulator_launch *launch;
    const void *args;
    unsigned char *shared;
    int block[3];
    struct sora_emulator_lane *current;
    uint32_t random;
    struct sora_fault *fault;
};

/* The launch that runs on this thread. */
static _Thread_local struct sora_emulator *running;

int sora_emulator_create(struct sora_emulator **out_emulator)
{
    struct sora_emulator *emulator = calloc(1, sizeof(*emulator));
    if (!emulator)
        return SORA_E_MEMORY;
    emulator->lanes = calloc(SORA_EMULATOR_THREADS_MAX, sizeof(*emulator->lanes));
    if (!emulator->lanes) {
        free(emulator);
        return SORA_E_MEMORY;
    }
    *out_emulator = emulator;
    return 0;
}

void sora_emulator_destroy(struct sora_emulator **emulator)
{
    if (!*emulator)
        return;
    for (int i = 0; i < (*emulator)->fiber_count; i++) {
        sora_fiber_fini(&(*emulator)->lanes[i].fiber);
        free((*emulator)->lanes[i].copies);
    }
    free((*emulator)->lanes);
    free(*emulator);
    *emulator = NULL;
}

/* ---- a lane's side ---- */

static void lane_main(void *context)
{
    struct sora_emulator_lane *lane = context;
    running->launch->kernel(running->args);
    lane->operation = SORA_EMULATOR_EXITED;
    lane->place = "the kernel's end";
    sora_fiber_yield(&lane->fiber, 1);
}

/* Parks the running lane with what it asks for. */
static void park(enum sora_emulator_operation operation, int detail, const char *place)
{
    struct sora_emulator_lane *lane = running->current;
    lane->operation = operation;
    lane->detail = detail;
    lane->place = place;
    sora_fiber_yield(&lane->fiber, 0);
}

int sora_emulator_thread(void)
{
    return (int)(running->current - running->lanes);
}

int sora_emulator_block(int dimension)
{
    return running->block[dimension];
}

void *sora_emulator_shared(void)
{
    return running->shared;
}

void sora_emulator_barrier(const char *place)
{
    park(SORA_EMULATOR_BARRIER, 0, place);
}

void sora_emulator_wave_sync(const char *place)
{
    park(SORA_EMULATOR_WAVE_SYNC, 0, place);
}

uint32_t sora_emulator_shuffle(uint32_t value, int lane, const char *place)
{
    running->current->words = &value;
    park(SORA_EMULATOR_SHUFFLE, lane, place);
    return value;
}

void sora_emulator_load_matrix(uint32_t *out, const uint16_t *from, int transposed,
                               const char *place)
{
    struct sora_emulator_lane *lane = running->current;
    lane->words = out;
    lane->row = from;
    park(SORA_EMULATOR_LOAD_MATRIX, transposed, place);
}

void sora_emulator_mma(enum sora_emulator_operation unit, float *c, const uint32_t *a,
                       const uint32_t *b, int bf16, const char *place)
{
    struct sora_emulator_lane *lane = running->current;
    lane->sums = c;
    lane->a = a;
    lane->b = b;
    park(unit, bf16, place);
}

void sora_emulator_copy_async(void *to, const void *from, int present)
{
    struct sora_emulator_lane *lane = running->current;
    if (lane->copy_count == lane->copy_capacity) {
        int capacity = lane->copy_capacity ? 2 * lane->copy_capacity : 8;
        void *copies = realloc(lane->copies, (size_t)capacity * sizeof(*lane->copies));
        if (!copies) { /* at once instead: slower to show a missing wait, never wrong */
            memset(to, 0, 16);
            if (present)
                memcpy(to, from, 16);
            return;
        }
        lane->copies = copies;
        lane->copy_capacity = capacity;
    }
    struct sora_emulator_copy *copy = &lane->copies[lane->copy_count++];
    *copy = (struct sora_emulator_copy){.to = to};
    if (present)
        memcpy(copy->bytes, from, sizeof(copy->bytes));
    memset(to, 0xff, sizeof(copy->bytes));
}

void sora_emulator_copy_wait(void)
{
    struct sora_emulator_lane *lane = running->current;
    for (int i = 0; i < lane->copy_count; i++)
        memcpy(lane->copies[i].to, lane->copies[i].bytes, sizeof(lane->copies[i].bytes));
    lane->copy_count = 0;
}

/* ---- the scheduler's side ---- */

static uint32_t random_below(struct sora_emulator *emulator, uint32_t bound)
{
    uint32_t x = emulator->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    emulator->random = x;
    return x % bound;
}

/* 0..count-1 in the launch's order. */
static void order_fill(struct sora_emulator *emulator, int count, int *order)
{
    enum sora_emulator_order kind = emulator->launch->order;
    for (int i = 0; i < count; i++)
        order[i] = kind == SORA_EMULATOR_REVERSE ? count - 1 - i : i;
    for (int i = count - 1; kind == SORA_EMULATOR_RANDOM && i > 0; i--) {
        int other = (int)random_below(emulator, (uint32_t)i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static int rule_broken(struct sora_emulator *emulator, const char *what, int lane, int other)
{
    const struct sora_emulator_lane *lanes = emulator->lanes;
    return sora_fault_set(emulator->fault, SORA_E_DEVICE,
                          "kernel %s, block (%d,%d,%d): %s: thread %d is at %s, thread %d at %s",
                          emulator->launch->name, emulator->block[0], emulator->block[1],
                          emulator->block[2], what, lane, lanes[lane].place, other,
                          lanes[other].place);
}

/* All lanes of the wave at `first` are parked: do they wait for the same thing? */
static int wave_check(struct sora_emulator *emulator, int first)
{
    const struct sora_emulator_lane *lanes = emulator->lanes;
    for (int i = first + 1; i < first + emulator->launch->wave; i++) {
        if (lanes[i].operation != lanes[first].operation ||
            (lanes[i].place != lanes[first].place &&
             strcmp(lanes[i].place, lanes[first].place) != 0))
            return rule_broken(emulator, "lanes of one wave diverge", first, i);
    }
    return 0;
}

static void wave_resume(struct sora_emulator *emulator, int first)
{
    int order[64];
    order_fill(emulator, emulator->launch->wave, order);
    for (int i = 0; i < emulator->launch->wave; i++) {
        struct sora_emulator_lane *lane = &emulator->lanes[first + order[i]];
        lane->operation = SORA_EMULATOR_RUNNING;
        emulator->current = lane;
        sora_fiber_resume(&lane->fiber);
    }
}

/* Runs one wave until it waits for the block or has ended, or (random order) for a while. */
static int wave_run(struct sora_emulator *emulator, int first)
{
    struct sora_emulator_lane *lane = &emulator->lanes[first];
    do {
        wave_resume(emulator, first);
        int code = wave_check(emulator, first);
        if (code)
            return code;
        if (lane->operation == SORA_EMULATOR_EXITED || lane->operation == SORA_EMULATOR_BARRIER)
            return 0;
        const char *broken = sora_emulator_wave_do(lane, emulator->launch->wave);
        if (broken)
            return rule_broken(emulator, broken, first, first);
    } while (emulator->launch->order != SORA_EMULATOR_RANDOM || random_below(emulator, 4) != 0);
    return 0;
}

static bool wave_waits(const struct sora_emulator *emulator, int first)
{
    enum sora_emulator_operation operation = emulator->lanes[first].operation;
    return operation == SORA_EMULATOR_EXITED || operation == SORA_EMULATOR_BARRIER;
}

/* Every wave until it waits for the block. */
static int waves_run(struct sora_emulator *emulator)
{
    int wave = emulator->launch->wave, count = emulator->launch->threads / wave;
    int order[SORA_EMULATOR_THREADS_MAX / 32];
    for (bool waiting = false; !waiting;) {
        waiting = true;
        order_fill(emulator, count, order);
        for (int i = 0; i < count; i++) {
            if (wave_waits(emulator, order[i] * wave))
                continue;
            int code = wave_run(emulator, order[i] * wave);
            if (code)
                return code;
            waiting = waiting && wave_waits(emulator, order[i] * wave);
        }
    }
    return 0;
}

static int block_run(struct sora_emulator *emulator)
{
    const struct sora_emulator_launch *launch = emulator->launch;
    struct sora_emulator_lane *lanes = emulator->lanes;
    for (int i = 0; i < launch->threads; i++) {
        lanes[i].operation = SORA_EMULATOR_RUNNING;
        lanes[i].copy_count = 0;
        sora_fiber_start(&lanes[i].fiber, lane_main, &lanes[i]);
    }
    for (;;) {
        int code = waves_run(emulator);
        if (code)
            return code;
        for (int i = launch->wave; i < launch->threads; i += launch->wave) {
            if (lanes[i].operation != lanes[0].operation || strcmp(lanes[i].place, lanes[0].place))
                return rule_broken(emulator, "waves of one block diverge", 0, i);
        }
        if (lanes[0].operation == SORA_EMULATOR_EXITED)
            return 0;
        for (int i = 0; i < launch->threads; i++)
            lanes[i].operation = SORA_EMULATOR_RUNNING;
    }
}

/* A fresh shared array for every block, so that nothing survives from the one before and a
 * sanitizer sees its end. */
static int block_in_shared(struct sora_emulator *emulator)
{
    size_t size = emulator->launch->shared_size;
    emulator->shared = malloc(size ? size : 1);
    if (!emulator->shared)
        return SORA_E_MEMORY;
    memset(emulator->shared, 0xff, size);
    int code = block_run(emulator);
    free(emulator->shared);
    emulator->shared = NULL;
    return code;
}

static int launch_check(const struct sora_emulator_launch *launch, struct sora_fault *fault)
{
    bool wave_fits = launch->wave == 32 || launch->wave == 64;
    if (!wave_fits || launch->threads < launch->wave || launch->threads % launch->wave ||
        launch->threads > SORA_EMULATOR_THREADS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "kernel %s: blocks of %d threads in waves of %d; a block has whole "
                              "waves of 32 or 64 and at most %d threads",
                              launch->name, launch->threads, launch->wave,
                              SORA_EMULATOR_THREADS_MAX);
    if (launch->shared_size > SORA_EMULATOR_SHARED_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "kernel %s: %zu bytes of shared memory; the limit is %d",
                              launch->name, launch->shared_size, SORA_EMULATOR_SHARED_MAX);
    for (int i = 0; i < 3; i++) {
        if (launch->grid[i] < 1 || launch->grid[i] > (i ? 65535u : 2147483647u))
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "kernel %s: %u blocks in dimension %d; from 1 to %s fit",
                                  launch->name, launch->grid[i], i, i ? "65535" : "2147483647");
    }
    return 0;
}

static int fibers_reserve(struct sora_emulator *emulator, int count)
{
    for (; emulator->fiber_count < count; emulator->fiber_count++) {
        int code = sora_fiber_init(&emulator->lanes[emulator->fiber_count].fiber);
        if (code)
            return code;
    }
    return 0;
}

static int blocks_run(struct sora_emulator *emulator)
{
    const struct sora_emulator_launch *launch = emulator->launch;
    int *block = emulator->block, code = 0;
    for (block[2] = 0; block[2] < (int)launch->grid[2]; block[2]++) {
        for (block[1] = 0; block[1] < (int)launch->grid[1]; block[1]++) {
            for (block[0] = 0; block[0] < (int)launch->grid[0]; block[0]++) {
                code = block_in_shared(emulator);
                if (code)
                    return code;
            }
        }
    }
    return 0;
}

int sora_emulator_launch(struct sora_emulator *emulator, const struct sora_emulator_launch *launch,
                         struct sora_fault *fault)
{
    int code = launch_check(launch, fault);
    if (code == 0)
        code = fibers_reserve(emulator, launch->threads);
    if (code)
        return code;
    void *args = malloc(launch->args_size ? launch->args_size : 1);
    if (!args)
        return SORA_E_MEMORY;
    if (launch->args_size)
        memcpy(args, launch->args, launch->args_size);
    emulator->launch = launch;
    emulator->args = args;
    emulator->random = launch->seed * 2654435761u + 1u;
    if (emulator->random == 0)
        emulator->random = 1;
    emulator->fault = fault;
    struct sora_emulator *before = running;
    running = emulator;
    code = blocks_run(emulator);
    running = before;
    for (int i = 0; code && i < launch->threads; i++)
        sora_fiber_abandon(&emulator->lanes[i].fiber);
    free(args);
    return code;
}
