/* The sampling defaults of a model directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/schedule_config.h"

#include <stdio.h>
#include <string.h>

static int read_text(const char *text, struct sora_schedule_params *params,
                     struct sora_fault *fault)
{
    struct sora_config *config = NULL;
    int rc = sora_config_parse(text, strlen(text), "scheduler_config.json", &config, fault);
    if (!rc)
        rc = sora_schedule_params_read(config, params, fault);
    sora_config_destroy(&config);
    return rc;
}

#define UNIPC                                                                                      \
    "{\"_class_name\":\"UniPCMultistepScheduler\",\"prediction_type\":\"flow_prediction\","        \
    "\"use_flow_sigmas\":true"

static void test_accepts(void **state)
{
    (void)state;
    struct sora_schedule_params params;
    struct sora_fault fault = {0};
    assert_int_equal(read_text(UNIPC ",\"flow_shift\":5.0,\"solver_order\":2,\"beta_end\":0.02}",
                               &params, &fault),
                     SORA_OK);
    assert_int_equal((int)params.solver, SORA_SOLVER_UNIPC);
    assert_true(params.shift == 5.0);
    assert_int_equal(params.steps, 0);
    assert_int_equal(read_text("{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\","
                               "\"shift\":3.5,\"shift_terminal\":null}",
                               &params, &fault),
                     SORA_OK);
    assert_int_equal((int)params.solver, SORA_SOLVER_EULER);
    assert_true(params.shift == 3.5);
    /* The classes' own default is no shift. */
    assert_int_equal(read_text(UNIPC "}", &params, &fault), SORA_OK);
    assert_true(params.shift == 1.0);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *named;
    } rows[] = {
        {"{}", "_class_name"},
        {"{\"_class_name\":\"DDIMScheduler\"}", "DDIMScheduler"},
        {"{\"_class_name\":\"UniPCMultistepScheduler\"}", "prediction_type"},
        {UNIPC ",\"solver_order\":3}", "solver_order is 3"},
        {UNIPC ",\"solver_type\":\"bh1\"}", "bh1"},
        {UNIPC ",\"use_karras_sigmas\":true}", "use_karras_sigmas"},
        {UNIPC ",\"lower_order_final\":false}", "lower_order_final"},
        {UNIPC ",\"num_train_timesteps\":500}", "num_train_timesteps"},
        {UNIPC ",\"flow_shift\":1e9}", "flow_shift"},
        {UNIPC ",\"flow_shift\":\"big\"}", "flow_shift"},
        {"{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\",\"use_dynamic_shifting\":true}",
         "use_dynamic_shifting"},
        {"{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\",\"shift_terminal\":0.1}",
         "shift_terminal"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sora_schedule_params params;
        struct sora_fault fault = {0};
        assert_int_not_equal(read_text(rows[i].text, &params, &fault), SORA_OK);
        if (!strstr(fault.text, rows[i].named))
            fail_msg("row %zu: %s", i, fault.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
