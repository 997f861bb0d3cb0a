/* `sora-worker render`: options in, one render, a summary or JSON out. */
#include "node/commands.h"
#include "node/json_print.h"
#include "node/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

/* The first signal asks the render to stop and clean up; the second ends the process. */
static void on_signal(int number)
{
    if (interrupted)
        _exit(128 + number);
    interrupted = 1;
}

static void install_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit becomes an error of the write */
}

static void print_json_result(const struct sora_render_options *options,
                              const struct sora_render_result *result)
{
    const struct sora_job_plan *plan = &result->plan;
    printf("{\"status\": \"done\", \"output\": ");
    sora_print_json_string(options->output);
    printf(", \"model\": ");
    sora_print_json_string(result->model_name);
    printf(
        ", \"device_class\": \"%s\", \"frames\": %d, \"width\": %d, \"height\": %d, \"fps\": %g, "
        "\"latents\": %d, \"seed\": %" PRIu64 ", \"steps\": %d, \"guidance\": %g, \"shift\": %g, "
        "\"solver\": \"%s\", \"text_tokens\": %d, \"window_passes\": %d, ",
        result->device_class, plan->frame_count, plan->width, plan->height, plan->fps,
        result->latent_count, plan->takes[0].seed, plan->steps, plan->guidance, plan->shift,
        sora_solver_kind_name((enum sora_solver_kind)plan->solver), result->text_tokens,
        result->window_passes);
    if (plan->take_count > 1)
        printf("\"takes\": %d, ", (int)plan->take_count);
    printf("\"seconds\": {\"load\": %.3f, \"text\": %.3f, \"denoise\": %.3f, \"decode\": %.3f}, "
           "\"peak_memory_bytes\": %" PRIu64 ", \"notes\": [",
           result->load_seconds, result->text_seconds, result->sample_seconds,
           result->decode_seconds, result->peak_memory);
    for (int i = 0; i < result->notes.count; i++) {
        fputs(i ? ", " : "", stdout);
        sora_print_json_string(result->notes.texts[i]);
    }
    printf("]}\n");
}

static void print_failure(const struct sora_render_options *options, int error,
                          const struct sora_fault *fault)
{
    const char *text = fault->text[0] ? fault->text : sora_error_text(error);
    if (options->json) {
        printf("{\"status\": \"%s\", \"error\": \"%s\", \"text\": ",
               error == SORA_E_CANCELLED ? "cancelled" : "failed", sora_error_name(error));
        sora_print_json_string(text);
        printf("}\n");
    }
    fprintf(stderr, "sora-worker: %s\n", text);
}

int sora_command_render(int argc, char **argv)
{
    struct sora_render_options options;
    sora_render_options_init(&options);
    struct sora_fault fault = {0};
    struct sora_render_result result = {0};
    int error = sora_render_options_read(argc, argv, &options, &fault);
    if (!error && options.help) {
        sora_settings_print_help(&sora_render_options_table, stdout);
        sora_render_options_fini(&options);
        return 0;
    }
    install_signals();
    if (!error) {
        struct sora_progress progress;
        sora_progress_init(&progress, !options.quiet);
        const struct sora_render_control control = {&progress, &interrupted};
        error = sora_render_run(&options, &control, &result, &fault);
        if (error && progress.enabled && progress.terminal)
            fputs("\r\033[K", stderr);
    }
    if (error)
        print_failure(&options, error, &fault);
    else if (options.json)
        print_json_result(&options, &result);
    else if (!options.quiet)
        fprintf(stderr, "wrote %s: %d frames, %dx%d, %.1f s\n", options.output,
                result.plan.frame_count, result.plan.width, result.plan.height,
                result.plan.frame_count / result.plan.fps);
    sora_render_options_fini(&options);
    return sora_error_exit_status(error);
}
