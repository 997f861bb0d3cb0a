/* The tables themselves. */
#include "scheduler/core/farm_states.h"

struct row {
    const char *text;
    unsigned next;
};

#define ROW_JOB(name, text, next) [SORA_JOB_##name] = {text, next},
#define ROW_TASK(name, text, next) [SORA_TASK_##name] = {text, next},
#define ROW_NODE(name, text, next) [SORA_NODE_##name] = {text, next},
static const struct row jobs[SORA_JOB_STATE_COUNT] = {SORA_JOB_STATES(ROW_JOB)};
static const struct row tasks[SORA_TASK_STATE_COUNT] = {SORA_TASK_STATES(ROW_TASK)};
static const struct row nodes[SORA_NODE_STATE_COUNT] = {SORA_NODE_STATES(ROW_NODE)};

static const struct row *row_of(const struct row *rows, unsigned count, unsigned state)
{
    SORA_ASSERT(state < count);
    return &rows[state];
}

const char *sora_job_state_text(enum sora_job_state state)
{
    return row_of(jobs, SORA_JOB_STATE_COUNT, state)->text;
}

const char *sora_task_state_text(enum sora_task_state state)
{
    return row_of(tasks, SORA_TASK_STATE_COUNT, state)->text;
}

const char *sora_node_state_text(enum sora_node_state state)
{
    return row_of(nodes, SORA_NODE_STATE_COUNT, state)->text;
}

bool sora_job_state_may(enum sora_job_state from, enum sora_job_state to)
{
    return row_of(jobs, SORA_JOB_STATE_COUNT, from)->next & (1u << to);
}

bool sora_task_state_may(enum sora_task_state from, enum sora_task_state to)
{
    return row_of(tasks, SORA_TASK_STATE_COUNT, from)->next & (1u << to);
}

bool sora_node_state_may(enum sora_node_state from, enum sora_node_state to)
{
    return row_of(nodes, SORA_NODE_STATE_COUNT, from)->next & (1u << to);
}
