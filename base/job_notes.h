/*
 * Job notes: sentences for whoever ordered a job, on what was made of it: a length that was
 * rounded, a word that the model does not know. A plain value of the caller's.
 */
#ifndef SORA_BASE_JOB_NOTES_H
#define SORA_BASE_JOB_NOTES_H

#include "base/job_plan.h"

#define SORA_JOB_NOTES_MAX 8
#define SORA_JOB_NOTE_SIZE 480

struct sora_job_notes {
    int count;
    char texts[SORA_JOB_NOTES_MAX][SORA_JOB_NOTE_SIZE];
};

/* Adds a sentence unless there is no room. */
void sora_job_note(struct sora_job_notes *notes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A small model is honest about what it knows: names the first word of the prompts (letters only,
 * whatever their case) that is not among those it was trained on. None when the model lists none.
 */
void sora_job_note_unknown_words(struct sora_job_notes *notes, const struct sora_model_facts *facts,
                                 const struct sora_job_ask *ask);

#endif
