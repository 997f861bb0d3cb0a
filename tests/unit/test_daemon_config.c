/* sorad's options and file: defaults, lists, sizes, and what is wrong said in one line. */
#include "daemon/config.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct sora_config config;
static struct sora_fault fault;

static int setup(void **state)
{
    int rc = scratch_setup(state);
    setenv("XDG_CONFIG_HOME", scratch_dir, 1);
    fault = (struct sora_fault){0};
    return rc;
}

static int teardown(void **state)
{
    sora_config_fini(&config);
    return scratch_teardown(state);
}

/* Loads with up to four options. */
static int load(const char *a, const char *b, const char *c, const char *d)
{
    const char *const given[] = {"sorad", "--worker=/bin/true", a, b, c, d};
    char *argv[6];
    int count = 0;
    for (int i = 0; i < 6 && given[i]; i++)
        argv[count++] = (char *)(uintptr_t)given[i];
    return sora_config_load(count, argv, &config, &fault);
}

static void write_file(const char *name, const char *text)
{
    assert_int_equal(sora_file_make_dirs(scratch_path("sorafarm"), NULL), SORA_OK);
    assert_int_equal(sora_file_write(scratch_path(name), text, strlen(text), NULL), SORA_OK);
}

static void defaults_serve_at_once(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, NULL, NULL, NULL), SORA_OK);
    assert_int_equal(config.control_port, 7710);
    assert_int_equal(config.bulk_port, 7711);
    assert_int_equal(config.invite_port, 7712);
    assert_int_equal(config.role_bits, SORA_ROLE_NODE | SORA_ROLE_SCHEDULER);
    assert_int_equal(config.device_count, 2);
    assert_string_equal(config.device_rows[0].id, "cpu0");
    assert_string_equal(config.device_rows[1].id, "gpu");
    assert_int_equal(config.beacon, 0);
    assert_true(config.name[0] != '\0');
}

static void lists_are_read(void **state)
{
    (void)state;
    assert_int_equal(load("--devices=cpu0:threads=2:memory=4G, gpu0", "--hours=19:00-08:00",
                          "--peers=brook.lan:7710,192.0.2.7:99", "--memory=1.5G"),
                     SORA_OK);
    assert_int_equal(config.device_count, 2);
    assert_int_equal(config.device_rows[0].threads, 2);
    assert_int_equal(config.device_rows[0].memory_max, (uint64_t)4 << 30);
    assert_string_equal(config.device_rows[1].id, "gpu0");
    assert_int_equal(config.device_rows[1].memory_max, (uint64_t)3 << 29);
    assert_string_equal(config.device_rows[1].hours, "19:00-08:00");
    assert_int_equal(config.peer_count, 2);
    assert_string_equal(config.peer_rows[0], "tcp://brook.lan:7710");
}

static void options_win_over_the_file(void **state)
{
    (void)state;
    write_file("sorafarm/sorad.yaml", "name: brook\ncontrol_port: 9000\nroles: scheduler\n"
                                      "beacon: on\n");
    assert_int_equal(load("--control-port=9100", NULL, NULL, NULL), SORA_OK);
    assert_string_equal(config.name, "brook");
    assert_int_equal(config.control_port, 9100);
    assert_int_equal(config.role_bits, SORA_ROLE_SCHEDULER);
    assert_int_equal(config.beacon, 1);
}

static void unknown_keys_suggest_the_nearest(void **state)
{
    (void)state;
    write_file("sorafarm/sorad.yaml", "contrl_port: 9000\n");
    assert_int_equal(load(NULL, NULL, NULL, NULL), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "control_port"));
    sora_config_fini(&config);
    fault = (struct sora_fault){0};
    assert_int_equal(load("--lisen=0.0.0.0", NULL, NULL, NULL), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "--listen"));
}

static void a_named_file_must_be_there(void **state)
{
    (void)state;
    assert_int_equal(load("--config=/nowhere/sorad.yaml", NULL, NULL, NULL), SORA_E_NOT_FOUND);
}

/* Loads with these devices and looks for cards by `worker`. */
static void find_cards(const char *devices, const char *worker)
{
    char option[128];
    snprintf(option, sizeof(option), "--devices=%s", devices);
    sora_config_fini(&config);
    assert_int_equal(load(option, NULL, NULL, NULL), SORA_OK);
    snprintf(config.worker_path, sizeof(config.worker_path), "%s", worker);
    sora_config_find_cards(&config);
}

/* "gpu" becomes the cards that are there, with its attributes; a card with a row of its own keeps
 * it; without cards the CPU is left, and the reason is kept. */
static void cards_are_found(void **state)
{
    (void)state;
    setenv("SORA_GPU", "emulator:cdna", 1);
    find_cards("gpu:memory=2G:precision=f32,cpu0", SORA_WORKER);
    assert_int_equal(config.device_count, 2);
    assert_string_equal(config.device_rows[0].id, "cpu0");
    assert_string_equal(config.device_rows[1].id, "gpu0");
    assert_string_equal(config.device_rows[1].precision, "f32");
    assert_int_equal(config.device_rows[1].memory_max, (uint64_t)2 << 30);
    assert_string_equal(config.cards_absent, "");
    find_cards("gpu3,gpu0:precision=fp8,gpu", SORA_WORKER);
    assert_int_equal(config.device_count, 1);
    assert_string_equal(config.device_rows[0].precision, "fp8");
    assert_false(config.device_rows[0].int8_too);
    find_cards("gpu:precision=bf16+int8", SORA_WORKER);
    assert_string_equal(config.device_rows[0].precision, "bf16");
    assert_true(config.device_rows[0].int8_too);
    setenv("SORA_GPU", "emulator:none", 1);
    find_cards("cpu0,gpu", SORA_WORKER);
    assert_int_equal(config.device_count, 1);
    assert_string_equal(config.device_rows[0].id, "cpu0");
    assert_non_null(strstr(config.cards_absent, "the emulator has no kind 'none'"));
    find_cards("cpu0,gpu", "/bin/true");
    assert_int_equal(config.device_count, 1);
    assert_non_null(strstr(config.cards_absent, "looking for cards failed"));
    unsetenv("SORA_GPU");
}

static void wrong_values_name_the_way_out(void **state)
{
    static const struct {
        const char *option, *says;
    } cases[] = {
        {"--listen=everywhere", "is not an address"},
        {"--roles=node,painter", "node, scheduler"},
        {"--devices=cpu0:threads=0", "threads=N"},
        {"--devices=cpu0,cpu0", "twice"},
        {"--devices=", "empty"},
        {"--devices=,cpu0", "empty"},
        {"--devices=npu0", "gpu0 to gpu15"},
        {"--devices=gpu16", "gpu0 to gpu15"},
        {"--devices=cpu", "gpu0 to gpu15"},
        {"--devices=gpu0:threads=2", "gpu0 has no threads"},
        {"--devices=gpu0:precision=f8", "bf16, f16, f32, int8 or fp8"},
        {"--devices=gpu0:precision=int8+int8", "bf16+int8"},
        {"--devices=gpu0:precision=fp8+int8", "bf16+int8"},
        {"--devices=gpu0:precision=bf16+f32", "bf16+int8"},
        {"--devices=gpu0:precision=bf16+", "bf16+int8"},
        {"--devices=cpu0:precision=bf16", "a CPU computes in f32"},
        {"--hours=9-17", "19:00-08:00"},
        {"--hours=29:00-08:00", "19:00-08:00"},
        {"--memory=lots", "512M"},
        {"--memory=0", "64M to 64T"},
        {"--memory=8", "64M to 64T"},
        {"--memory=65T", "64M to 64T"},
        {"--devices=cpu0:memory=0", "64M to 64T"},
        {"--keep=0d", "3650d"},
        {"--blob-limit=0", "256M"},
        {"--peers=brook", "HOST:PORT"},
        {"--peers=tcp://brook:7710", "HOST:PORT"},
        {"--peers=brook:99999", "HOST:PORT"},
        {"--blob-limit=10M", "256M"},
        {"--control-port=70000", "65535"},
        {"--control-port=7711", "must differ"},
        {"--models=/nowhere/model", "/nowhere/model"},
        {"--worker=/nowhere/worker", "/nowhere/worker"},
        {"--log-level=loud", "error|warn|info|debug"},
        {"--name=a\nb", "control characters"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fault = (struct sora_fault){0};
        assert_int_not_equal(load(cases[i].option, NULL, NULL, NULL), SORA_OK);
        if (!strstr(fault.text, cases[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].option, fault.text, cases[i].says);
        sora_config_fini(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_serve_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(options_win_over_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_keys_suggest_the_nearest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_named_file_must_be_there, setup, teardown),
        cmocka_unit_test_setup_teardown(cards_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_values_name_the_way_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
