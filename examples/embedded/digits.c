/* Recognise a digit in C: no Python, no runtime, no allocation.

   tilewright demo -o demo
   tilewright export demo/digits.twa --c demo --name digits
   cc -std=c11 -Idemo examples/embedded/digits.c demo/digits.o -lm -o demo/recognise
   demo/recognise < IMAGE

   The image is 64 numbers from 0 to 16, row by row, as text. */

#include "digits.h"

#include <stdio.h>

static float image[DIGITS_INPUT_0_BYTES / sizeof(float)], probabilities[DIGITS_OUTPUT_0_BYTES / sizeof(float)];
static _Alignas(DIGITS_WORKSPACE_ALIGNMENT) unsigned char workspace[DIGITS_WORKSPACE_BYTES];

int main(void)
{
    const void *inputs[DIGITS_INPUTS] = {image};
    void *outputs[DIGITS_OUTPUTS] = {probabilities};
    size_t best = 0;

    for (size_t i = 0; i < sizeof image / sizeof *image; i++) {
        if (scanf("%f", &image[i]) != 1) {
            fputs("the image is too short\n", stderr);
            return 2;
        }
        image[i] /= 16;
    }
    int status = digits_run(inputs, outputs, workspace);
    if (status) {
        fprintf(stderr, "step %d refused its data\n", status - 1);
        return 1;
    }
    for (size_t i = 1; i < sizeof probabilities / sizeof *probabilities; i++)
        if (probabilities[i] > probabilities[best]) best = i;
    printf("%zu (%.1f %%)\n", best, 100.0 * probabilities[best]);
    return 0;
}
