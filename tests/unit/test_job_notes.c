/* Job notes: the first word that a model does not know, and no more than there is room for. */
#include "base/job_notes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct sora_job_notes notes;

static const char *said_of(const char *words, const char *first, const char *second)
{
    const struct sora_model_facts facts = {.name = "mini", .knows = "boats", .words = words};
    const struct sora_job_ask_shot shots[] = {{.prompt = first}, {.prompt = second}};
    const struct sora_job_ask ask = {.shot_count = 2, .shots = shots};
    notes = (struct sora_job_notes){0};
    sora_job_note_unknown_words(&notes, &facts, &ask);
    return notes.count ? notes.texts[0] : "";
}

static void the_first_unknown_word_is_named(void **state)
{
    (void)state;
    const char *words = "a red boat sea the over";
    assert_string_equal(said_of(words, "A Red boat,", "over the sea!"), "");
    assert_string_equal(said_of(words, "the boat", "a red dragon over a castle"),
                        "'dragon' is new to mini, which knows boats");
    assert_int_equal(notes.count, 1);
    assert_string_equal(said_of(words, NULL, "re"), "'re' is new to mini, which knows boats");
}

static void a_model_without_words_says_nothing(void **state)
{
    (void)state;
    assert_string_equal(said_of("", "anything", "at all"), "");
    assert_string_equal(said_of(NULL, "anything", "at all"), "");
}

static void notes_beyond_the_room_are_dropped(void **state)
{
    (void)state;
    notes = (struct sora_job_notes){0};
    for (int i = 0; i < SORA_JOB_NOTES_MAX + 2; i++)
        sora_job_note(&notes, "note %d", i);
    assert_int_equal(notes.count, SORA_JOB_NOTES_MAX);
    assert_string_equal(notes.texts[SORA_JOB_NOTES_MAX - 1], "note 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_unknown_word_is_named),
        cmocka_unit_test(a_model_without_words_says_nothing),
        cmocka_unit_test(notes_beyond_the_room_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
