/* doctor: what is well and what is not, with exit status 1 when something is not. */
#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/output.h"

int sora_ctl_doctor(struct sora_ctl_context *context)
{
    Farm__Doctor doctor = FARM__DOCTOR__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_DOCTOR;
    message.doctor = &doctor;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = sora_client_open(context->options.state, &client, &context->fault), bad = 0;
    if (!error)
        error = sora_client_call(client, &message, FARM__MESSAGE__BODY_DOCTOR_REPLY, 60, &answer,
                                 &context->fault);
    json_t *list = json_array();
    for (size_t i = 0; !error && i < answer->doctor_reply->n_checks; i++) {
        const Farm__DoctorCheck *check = answer->doctor_reply->checks[i];
        bad += !check->good;
        if (context->options.json)
            json_array_append_new(list, json_pack("{s:s,s:b,s:s}", "name", check->name, "good",
                                                  check->good, "text", check->text));
        else
            printf("%-4s  %-12s  %s\n", check->good ? "ok" : "BAD", check->name, check->text);
    }
    if (!error && context->options.json)
        sora_output_json(list);
    else
        json_decref(list);
    sora_client_close(&client);
    if (!error && bad)
        error = sora_fault_set(&context->fault, SORA_E_IO, "%d check%s not good", bad,
                               bad == 1 ? " is" : "s are");
    return error;
}

int sora_ctl_version(struct sora_ctl_context *context)
{
    if (context->options.json)
        sora_output_json(json_pack("{s:s}", "version", SORA_VERSION));
    else
        puts("soractl " SORA_VERSION);
    return 0;
}
