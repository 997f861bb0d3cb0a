/* Job notes: adding one, and finding words that a model does not know. */
#include "base/job_notes.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define WORD_SHOWN 60

void sora_job_note(struct sora_job_notes *notes, const char *format, ...)
{
    if (notes->count >= SORA_JOB_NOTES_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(notes->texts[notes->count++], sizeof(notes->texts[0]), format, arguments);
    va_end(arguments);
}

static bool word_listed(const char *words, const char *word, size_t length)
{
    for (const char *at = words; *at;) {
        size_t size = strcspn(at, " ");
        if (size == length && strncasecmp(at, word, length) == 0)
            return true;
        at += size;
        at += strspn(at, " ");
    }
    return false;
}

/* The first word that is not listed, and its length; NULL: all are. */
static const char *find_unknown(const char *words, const char *prompt, size_t *out_length)
{
    for (const char *at = prompt; *at;) {
        size_t length = 0;
        while (isalpha((unsigned char)at[length]) || (unsigned char)at[length] >= 0x80)
            length++;
        *out_length = length;
        if (length > 0 && !word_listed(words, at, length))
            return at;
        at += length > 0 ? length : 1;
    }
    return NULL;
}

void sora_job_note_unknown_words(struct sora_job_notes *notes, const struct sora_model_facts *facts,
                                 const struct sora_job_ask *ask)
{
    const char *knows = facts->knows ? facts->knows : "other words", *word = NULL;
    size_t length = 0;
    for (int32_t i = 0; facts->words && *facts->words && !word && i < ask->shot_count; i++) {
        if (ask->shots[i].prompt)
            word = find_unknown(facts->words, ask->shots[i].prompt, &length);
    }
    if (word)
        sora_job_note(notes, "'%.*s' is new to %s, which knows %.300s",
                      (int)(length < WORD_SHOWN ? length : WORD_SHOWN), word, facts->name, knows);
}
