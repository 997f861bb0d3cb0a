/* Job options: the table in a program's own struct, job files, shots, and what is refused. */
#include "base/job_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A program: options of its own around those of a job. */
struct program {
    int json;
    struct sora_job_options job;
    char *output;
};

static const struct sora_setting rows[] = {
    SORA_JOB_OPTION_ROWS(struct program, job),
    {"output", 'o', SORA_SETTING_STRING, offsetof(struct program, output), 1, 4096, NULL, "FILE",
     "the video", false},
    {"json", 0, SORA_SETTING_FLAG, offsetof(struct program, json), 0, 0, NULL, NULL, "JSON", true},
};
static const struct sora_settings_table table = {"program", "A program.", rows,
                                                 sizeof(rows) / sizeof(rows[0])};

static void start(struct program *program, struct sora_fault *fault)
{
    *program = (struct program){0};
    *fault = (struct sora_fault){0};
    sora_settings_init(&table, program);
}

static void end(struct program *program)
{
    sora_job_options_fini(&program->job);
    sora_settings_fini(&table, program);
}

static int read_arguments(struct program *program, int count, const char *const *words,
                          struct sora_fault *fault)
{
    char *argv[32];
    for (int i = 0; i < count; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    return sora_settings_parse_arguments(&table, count, argv, program, fault);
}

static int parse(struct program *program, const char *yaml, struct sora_fault *fault)
{
    return sora_job_options_parse(&table, yaml, strlen(yaml), "job.yaml", program, &program->job,
                                  fault);
}

static void rows_fill_a_programs_struct(void **state)
{
    (void)state;
    struct program program;
    struct sora_fault fault;
    start(&program, &fault);
    const char *words[] = {"program", "-p",      "a boat", "--size",   "256x144", "--noise-kind",
                           "iid",     "--codec", "av1",    "--solver", "euler",   "--pixel-format",
                           "yuv420p", "-o",      "a.mp4",  "--seed",   "7",       "--json"};
    assert_int_equal(read_arguments(&program, 18, words, &fault), 0);
    assert_string_equal(program.job.prompt, "a boat");
    assert_int_equal(program.job.size.height, 144);
    assert_int_equal(program.job.noise_kind, SORA_NOISE_IID);
    assert_int_equal(program.job.codec, SORA_CODEC_AV1);
    assert_int_equal(program.job.solver, SORA_SOLVER_EULER);
    assert_string_equal(program.job.pixel_format, "yuv420p");
    assert_int_equal(program.job.seed, 7);
    assert_string_equal(program.output, "a.mp4");
    assert_int_equal(program.json, 1);
    assert_true(isnan(program.job.seconds) && isnan(program.job.guidance));
    assert_int_equal(program.job.steps, SORA_SETTING_INT_UNSET);
    assert_int_equal(program.job.shot_count, 0);
    end(&program);
}

static void a_job_file_holds_shots(void **state)
{
    (void)state;
    struct program program;
    struct sora_fault fault;
    start(&program, &fault);
    const char *yaml = "size: 256x144\n"
                       "negative: blur\n"
                       "shots:\n"
                       "  - prompt: a red balloon over the sea\n"
                       "    seconds: 20\n"
                       "    seed: 3\n"
                       "  - prompt: a lantern over the sea at night\n"
                       "    frames: 10\n"
                       "    cut: false\n"
                       "  - {prompt: hills, seconds: 1, negative: ''}\n";
    assert_int_equal(parse(&program, yaml, &fault), 0);
    const struct sora_job_shot *shots = program.job.shots;
    assert_int_equal(program.job.shot_count, 3);
    assert_string_equal(shots[0].prompt, "a red balloon over the sea");
    assert_true(shots[0].seconds == 20 && isnan(shots[1].seconds));
    assert_int_equal(shots[0].seed, 3);
    assert_int_equal(shots[0].cut, -1);
    assert_int_equal(shots[1].frames, 10);
    assert_int_equal(shots[1].cut, 0);
    assert_null(shots[1].negative);
    assert_string_equal(shots[2].negative, "");
    assert_string_equal(program.job.negative, "blur");
    end(&program);
}

static void the_command_line_wins(void **state)
{
    (void)state;
    struct program program;
    struct sora_fault fault;
    start(&program, &fault);
    char path[] = "/tmp/sora-job-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs("steps: 5\nfps: 24\nprompt: a kite\n", file);
    fclose(file);
    const char *words[] = {"program", "--job", path, "--steps", "9"};
    assert_int_equal(read_arguments(&program, 5, words, &fault), 0);
    assert_int_equal(sora_job_options_load(&table, &program, &program.job, &fault), 0);
    assert_int_equal(program.job.steps, 9);
    assert_true(program.job.fps == 24);
    assert_string_equal(program.job.prompt, "a kite");
    end(&program);
    unlink(path);

    start(&program, &fault);
    assert_int_equal(sora_job_options_load(&table, &program, &program.job, &fault), 0);
    assert_int_equal(read_arguments(&program, 3, words, &fault), 0);
    assert_int_equal(sora_job_options_load(&table, &program, &program.job, &fault),
                     SORA_E_NOT_FOUND);
    end(&program);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int code;
        const char *parts[3];
    } cases[] = {
        {"step: 4\n", SORA_E_INVALID, {"job.yaml: unknown key 'step'", "did you mean steps?"}},
        {"shot: []\n", SORA_E_INVALID, {"unknown key 'shot'", "did you mean shots?"}},
        {"shots:\n  - {prompt: a, seconds: 1}\n  - {promt: b, seconds: 1}\n",
         SORA_E_INVALID,
         {"job.yaml: shot 2: unknown key 'promt'", "did you mean prompt?"}},
        {"shots:\n  - {prompt: a, seconds: 1}\n  - {prompt: b, seconds: soon}\n",
         SORA_E_INVALID,
         {"job.yaml: shot 2: seconds", "'soon' is not a number"}},
        {"shots:\n  - {prompt: a, frames: 9999999}\n",
         SORA_E_LIMIT,
         {"job.yaml: shot 1: frames", "1 to 262144"}},
        {"shots:\n  - {prompt: a, seconds: 1, cut: maybe}\n",
         SORA_E_INVALID,
         {"shot 1: cut", "false|true"}},
        {"shots:\n  - {seconds: 1}\n", SORA_E_INVALID, {"shot 1: no prompt"}},
        {"shots:\n  - {prompt: a}\n", SORA_E_INVALID, {"shot 1: no length"}},
        {"shots:\n  - {prompt: a, seconds: 1, frames: 2}\n", SORA_E_INVALID, {"shot 1: both"}},
        {"shots:\n  - {prompt: a, seconds: 1, cut: false}\n",
         SORA_E_INVALID,
         {"shot 1: cut is false"}},
        {"shots:\n  - {prompt: a, frames: 1}\n  - {prompt: a, frames: 1, cut: false, seed: 1}\n",
         SORA_E_INVALID,
         {"shot 2: seed", "remove seed"}},
        {"seconds: 4\nshots:\n  - {prompt: a, seconds: 1}\n",
         SORA_E_INVALID,
         {"seconds is given for the job"}},
        {"shots: []\n", SORA_E_INVALID, {"shots is empty"}},
        {"shots: 3\n", SORA_E_FORMAT, {"job.yaml: not a valid YAML mapping"}},
        {"shots:\n  - just words\n", SORA_E_FORMAT, {"shot 1: not a valid", "line 2"}},
        {"steps: 4\nsteps: [1]\n", SORA_E_FORMAT, {"job.yaml: not a valid", "steps"}},
        {"codec: vp9\n", SORA_E_INVALID, {"'vp9' is not one of h264|h265"}},
        {"job: other.yaml\n", SORA_E_INVALID, {"unknown key 'job'"}},
        {"", SORA_E_FORMAT, {"the file is empty"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct program program;
        struct sora_fault fault;
        start(&program, &fault);
        int code = parse(&program, cases[i].yaml, &fault);
        for (int k = 0; k < 3 && cases[i].parts[k]; k++) {
            if (code != cases[i].code || !strstr(fault.text, cases[i].parts[k]))
                fail_msg("case %zu: %d '%s'", i, code, fault.text);
        }
        assert_int_equal(program.job.shot_count, 0);
        assert_null(program.job.shots);
        end(&program);
    }
}

static void shots_have_a_limit(void **state)
{
    (void)state;
    for (int count = SORA_JOB_SHOTS_MAX; count <= SORA_JOB_SHOTS_MAX + 1; count++) {
        static char yaml[64 * 1024];
        size_t size = (size_t)snprintf(yaml, sizeof(yaml), "shots:\n");
        for (int i = 0; i < count; i++)
            size +=
                (size_t)snprintf(yaml + size, sizeof(yaml) - size, "  - {prompt: a, frames: 9}\n");
        struct program program;
        struct sora_fault fault;
        start(&program, &fault);
        int code = parse(&program, yaml, &fault);
        assert_int_equal(code, count <= SORA_JOB_SHOTS_MAX ? 0 : SORA_E_LIMIT);
        assert_int_equal(program.job.shot_count, count <= SORA_JOB_SHOTS_MAX ? count : 0);
        if (code)
            assert_non_null(strstr(fault.text, "the limit is 256"));
        end(&program);
    }
}

/* The names, the choices of the rows and the enums are the same lists. */
static void kinds_and_names_agree(void **state)
{
    (void)state;
    char joined[128] = "";
    for (int i = 0; i < SORA_CODEC_COUNT; i++) {
        enum sora_codec codec = SORA_CODEC_H264;
        const char *name = sora_codec_name((enum sora_codec)i);
        assert_int_equal(sora_codec_parse(name, &codec, NULL), 0);
        assert_int_equal(codec, i);
        snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s", i ? "|" : "",
                 name);
    }
    assert_string_equal(joined, SORA_CODEC_CHOICES);
    assert_string_equal(sora_solver_kind_name(SORA_SOLVER_EULER), "euler");
    assert_string_equal(sora_noise_kind_name(SORA_NOISE_FREENOISE), "freenoise");
    assert_null(sora_codec_name((enum sora_codec)9));
    enum sora_solver_kind kind;
    struct sora_fault fault = {0};
    assert_int_equal(sora_solver_kind_parse("heun", &kind, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "unipc or euler"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_fill_a_programs_struct), cmocka_unit_test(a_job_file_holds_shots),
        cmocka_unit_test(the_command_line_wins),       cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(shots_have_a_limit),          cmocka_unit_test(kinds_and_names_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
