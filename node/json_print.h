/* JSON on standard output, for the commands of sora-worker. */
#ifndef SORA_NODE_JSON_PRINT_H
#define SORA_NODE_JSON_PRINT_H

/* Prints a JSON string literal of `text`, which is UTF-8. */
void sora_print_json_string(const char *text);

#endif
