// Blocks that are freed once each; with an argument one of them twice, after some others.
#include "check.h"

int main(int argc, char **argv) {
    (void)argv;
    check_preloaded();
    char *blocks[100];
    for (int i = 0; i < 100; i++) {
        blocks[i] = malloc(100);
        CHECK(blocks[i] != NULL);
        memset(blocks[i], i, 100);
    }
    for (int i = 0; i < 100; i++) {
        CHECK(blocks[i][99] == i);
        free(blocks[i]);
    }
    if (argc > 1)
        free(blocks[50]);
    return 0;
}
