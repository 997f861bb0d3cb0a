/* farm init, invite, join, members, revoke. */
#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/output.h"

#include <math.h>
#include <string.h>

#define JOIN_SECONDS 40.0

static const struct sora_setting init_rows[] = {
    SORA_CTL_ROW("studio", 0, STRING, studio, 1, 63, NULL, "NAME", "its name; required"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_farm_init_table = SORA_CTL_TABLE(init_rows);

static const struct sora_setting invite_rows[] = {
    SORA_CTL_ROW("name", 0, STRING, name, 1, 63, NULL, "NAME", "of the guest; default its own"),
    SORA_CTL_ROW("role", 0, STRING, role, 1, 64, NULL, "ROLES",
                 "node, scheduler, user, separated by commas; default node,scheduler"),
    SORA_CTL_ROW("uses", 0, INT, uses, 1, 255, NULL, "N", "how many may join with it; default 1"),
    SORA_CTL_ROW("expires", 0, NUMBER, hours, 0.01, 168, NULL, "HOURS", "default 24"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_farm_invite_table = SORA_CTL_TABLE(invite_rows);

static const struct sora_setting revoke_rows[] = {
    SORA_CTL_ROW("reason", 0, STRING, reason, 1, 200, NULL, "TEXT", "for the log"),
    SORA_CTL_COMMON_ROWS,
};
const struct sora_settings_table sora_ctl_farm_revoke_table = SORA_CTL_TABLE(revoke_rows);

static int parse_roles(const char *text, uint32_t *out_roles, struct sora_fault *fault)
{
    static const char *const names[] = {"node", "scheduler", "user"};
    *out_roles = 0;
    while (*text) {
        size_t length = strcspn(text, ",");
        uint32_t bit = 0;
        for (uint32_t i = 0; i < 3; i++)
            if (strlen(names[i]) == length && strncmp(text, names[i], length) == 0)
                bit = 1u << i;
        if (!bit)
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "--role: '%.*s' is none of node, scheduler, user", (int)length,
                                  text);
        *out_roles |= bit;
        text += length + (text[length] == ',');
    }
    return 0;
}

/* Opens the client, calls, and closes nothing: the answer lives as long as the client. */
static int ask(struct sora_ctl_context *context, Farm__Message *message, int expected,
               double seconds, struct sora_client **out_client, const Farm__Message **out_answer)
{
    int error = sora_client_open(context->options.state, out_client, &context->fault);
    return error ? error
                 : sora_client_call(*out_client, message, expected, seconds, out_answer,
                                    &context->fault);
}

static void print_done(const struct sora_ctl_context *context, const char *text)
{
    if (context->options.json)
        sora_output_json(json_pack("{s:b}", "done", 1));
    else
        printf("%s\n", text);
}

int sora_ctl_farm_init(struct sora_ctl_context *context)
{
    if (!context->options.studio)
        return sora_fault_set(&context->fault, SORA_E_INVALID, "give --studio NAME");
    Farm__FarmInit init = FARM__FARM_INIT__INIT;
    init.studio = context->options.studio;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FARM_INIT;
    message.farm_init = &init;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = ask(context, &message, FARM__MESSAGE__BODY_ACK, 0, &client, &answer);
    if (!error)
        print_done(context, "the studio is founded; 'soractl farm invite' lets others join");
    sora_client_close(&client);
    return error;
}

int sora_ctl_farm_invite(struct sora_ctl_context *context)
{
    const struct sora_ctl_options *options = &context->options;
    Farm__FarmInvite invite = FARM__FARM_INVITE__INIT;
    int error = parse_roles(options->role ? options->role : "node,scheduler", &invite.roles,
                            &context->fault);
    if (error)
        return error;
    if (options->name)
        invite.name = options->name;
    invite.uses = options->uses == SORA_SETTING_INT_UNSET ? 1 : (uint32_t)options->uses;
    invite.lifetime_s = (uint64_t)((isnan(options->hours) ? 24 : options->hours) * 3600);
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FARM_INVITE;
    message.farm_invite = &invite;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    error = ask(context, &message, FARM__MESSAGE__BODY_FARM_INVITE_REPLY, 0, &client, &answer);
    if (!error && options->json)
        sora_output_json(json_pack("{s:s,s:I}", "code", answer->farm_invite_reply->code,
                                   "expires_ms",
                                   (json_int_t)answer->farm_invite_reply->wall_expires_ms));
    else if (!error)
        printf("%s\n", answer->farm_invite_reply->code);
    if (!error && !options->json)
        fprintf(stderr, "on the other machine: soractl farm join CODE (good for %u use%s)\n",
                invite.uses, invite.uses == 1 ? "" : "s");
    sora_client_close(&client);
    return error;
}

int sora_ctl_farm_join(struct sora_ctl_context *context)
{
    Farm__FarmJoin join = FARM__FARM_JOIN__INIT;
    join.code = context->arguments[0];
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FARM_JOIN;
    message.farm_join = &join;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = ask(context, &message, FARM__MESSAGE__BODY_ACK, JOIN_SECONDS, &client, &answer);
    if (!error)
        print_done(context, "joined; 'soractl farm members' lists the members");
    sora_client_close(&client);
    return error;
}

static void print_member(const Farm__FarmMember *member)
{
    char id[SORA_ID_TEXT_SIZE], roles[SORA_TEXT_SIZE];
    const char *state = member->revoked ? "revoked" : member->connected ? "connected" : "away";
    printf("%s  %-16s %-16s %-9s %s\n", sora_output_hex(&member->node, 4, id), member->name,
           member->studio, state, sora_output_roles(member->roles, roles));
}

static json_t *member_json(const Farm__FarmMember *member)
{
    char roles[SORA_TEXT_SIZE];
    return json_pack(
        "{s:o,s:s,s:s,s:s,s:I,s:b,s:b,s:I}", "node", sora_output_hex_json(&member->node), "name",
        member->name, "studio", member->studio, "roles", sora_output_roles(member->roles, roles),
        "not_after_ms", (json_int_t)member->wall_not_after_ms, "connected", member->connected,
        "revoked", member->revoked, "silent_ms", (json_int_t)member->silent_ms);
}

int sora_ctl_farm_members(struct sora_ctl_context *context)
{
    Farm__FarmMembers members = FARM__FARM_MEMBERS__INIT;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FARM_MEMBERS;
    message.farm_members = &members;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = ask(context, &message, FARM__MESSAGE__BODY_FARM_MEMBERS_REPLY, 0, &client, &answer);
    const Farm__FarmMembersReply *reply = error ? NULL : answer->farm_members_reply;
    json_t *list = json_array();
    for (size_t i = 0; reply && i < reply->n_members; i++) {
        if (context->options.json)
            json_array_append_new(list, member_json(reply->members[i]));
        else
            print_member(reply->members[i]);
    }
    if (reply && context->options.json)
        sora_output_json(json_pack("{s:s,s:s,s:o}", "studio", reply->studio, "words", reply->words,
                                   "members", list));
    else
        json_decref(list);
    if (reply && !context->options.json)
        fprintf(stderr, "studio %s  key %s\n", reply->studio, reply->words);
    sora_client_close(&client);
    return error;
}

int sora_ctl_farm_revoke(struct sora_ctl_context *context)
{
    Farm__FarmRevoke revoke = FARM__FARM_REVOKE__INIT;
    revoke.name = context->arguments[0];
    if (context->options.reason)
        revoke.reason = context->options.reason;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_FARM_REVOKE;
    message.farm_revoke = &revoke;
    struct sora_client *client = NULL;
    const Farm__Message *answer = NULL;
    int error = ask(context, &message, FARM__MESSAGE__BODY_ACK, 0, &client, &answer);
    if (!error)
        print_done(context, "revoked");
    sora_client_close(&client);
    return error;
}
