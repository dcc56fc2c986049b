/* Calls the steps of an object one by one: tensors come from standard input, results go to standard output, in the
   order of bytes of the machine. What comes: bytes of work memory, numbers of tensors and of steps; of each tensor its
   bytes and then these. What goes: what each step returned; all tensors. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int32_t tilewright_run(const void *context, int64_t begin, int64_t end);

static void *memory(int64_t bytes)
{
    void *found = aligned_alloc(64, ((size_t)bytes / 64 + 1) * 64);
    if (!found) exit(101);
    return found;
}

static void get(void *content, int64_t bytes)
{
    if (fread(content, 1, (size_t)bytes, stdin) != (size_t)bytes) exit(102);
}

static int64_t number(void)
{
    int64_t found;
    get(&found, sizeof found);
    return found;
}

int main(void)
{
    const int64_t scratch = number(), tensors = number(), steps = number();
    void **table = memory(tensors * (int64_t)sizeof *table);
    int64_t *sizes = memory(tensors * (int64_t)sizeof *sizes);
    const int32_t go_on = 0;
    const void *context[] = {memory(scratch), NULL, table, &go_on, NULL};

    for (int64_t i = 0; i < tensors; i++) {
        sizes[i] = number();
        table[i] = memory(sizes[i]);
        get(table[i], sizes[i]);
    }
    for (int64_t i = 0; i < steps; i++) {
        const int32_t status = tilewright_run(context, i, i + 1);
        fwrite(&status, sizeof status, 1, stdout);
    }
    for (int64_t i = 0; i < tensors; i++) fwrite(table[i], 1, (size_t)sizes[i], stdout);
    return 0;
}
