/* Log lines as they reach file descriptor 2, and the monotonic clock. */
#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int stderr_kept = -1;
static FILE *caught;

static void catch_begin(void)
{
    fflush(stderr);
    caught = tmpfile();
    assert_non_null(caught);
    stderr_kept = dup(STDERR_FILENO);
    assert_true(dup2(fileno(caught), STDERR_FILENO) >= 0);
}

static void catch_end(char *out_text, size_t size)
{
    assert_true(dup2(stderr_kept, STDERR_FILENO) >= 0);
    close(stderr_kept);
    rewind(caught);
    size_t length = fread(out_text, 1, size - 1, caught);
    out_text[length] = 0;
    fclose(caught);
}

static void line_has_level_text_and_newline(void **state)
{
    (void)state;
    char text[256];
    catch_begin();
    sora_log(SORA_LOG_WARN, "frame dropped index=%d", 7);
    catch_end(text, sizeof(text));
    assert_string_equal(text, "warn: frame dropped index=7\n");
}

static void lines_above_the_level_are_dropped(void **state)
{
    (void)state;
    char text[256];
    assert_int_equal(sora_log_level_get(), SORA_LOG_INFO);
    catch_begin();
    sora_log(SORA_LOG_DEBUG, "hidden");
    sora_log_set_level(SORA_LOG_DEBUG);
    sora_log(SORA_LOG_DEBUG, "shown");
    sora_log_set_level(SORA_LOG_ERROR);
    sora_log(SORA_LOG_INFO, "hidden");
    sora_log(SORA_LOG_ERROR, "lost");
    sora_log_set_level(SORA_LOG_INFO);
    catch_end(text, sizeof(text));
    assert_string_equal(text, "debug: shown\nerror: lost\n");
}

static void control_characters_cannot_forge_a_line(void **state)
{
    (void)state;
    char text[256];
    catch_begin();
    sora_log(SORA_LOG_INFO, "name=%s", "a\nerror: b\x1b[2J\x7f");
    catch_end(text, sizeof(text));
    assert_string_equal(text, "info: name=a?error: b?[2J?\n");
}

static void long_lines_are_cut_between_characters(void **state)
{
    (void)state;
    for (int shift = 0; shift < 3; shift++) {
        char longer[4096] = "";
        memset(longer, 'x', (size_t)shift);
        for (int i = 0; i < 1000; i++)
            strcat(longer, "\xe2\x82\xac"); /* the euro sign */
        char text[4096];
        catch_begin();
        sora_log(SORA_LOG_INFO, "%s", longer);
        catch_end(text, sizeof(text));
        size_t length = strlen(text);
        assert_true(length <= 1024 && length > 1024 - 4);
        assert_int_equal(text[length - 1], '\n');
        assert_int_equal((length - 1 - strlen("info: ") - (size_t)shift) % 3, 0);
    }
}

struct kept_line {
    char text[64];
    int count;
};

static void keep_line(void *context, const char *line, size_t length)
{
    struct kept_line *kept = context;
    snprintf(kept->text, sizeof(kept->text), "%.*s", (int)length, line);
    kept->count++;
}

static void a_sink_hears_what_is_written(void **state)
{
    (void)state;
    char text[256];
    struct kept_line kept = {.count = 0};
    catch_begin();
    sora_log_set_sink(keep_line, &kept);
    sora_log(SORA_LOG_DEBUG, "hidden");
    sora_log(SORA_LOG_WARN, "frame dropped index=%d", 7);
    sora_log_set_sink(NULL, NULL);
    sora_log(SORA_LOG_WARN, "not kept");
    catch_end(text, sizeof(text));
    assert_int_equal(kept.count, 1);
    assert_string_equal(kept.text, "warn: frame dropped index=7");
}

static void clock_goes_forward(void **state)
{
    (void)state;
    sora_time before = sora_clock_now();
    for (int i = 0; i < 1000; i++) {
        sora_time now = sora_clock_now();
        assert_true(now >= before);
        before = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_level_text_and_newline),
        cmocka_unit_test(lines_above_the_level_are_dropped),
        cmocka_unit_test(control_characters_cannot_forge_a_line),
        cmocka_unit_test(long_lines_are_cut_between_characters),
        cmocka_unit_test(a_sink_hears_what_is_written),
        cmocka_unit_test(clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
