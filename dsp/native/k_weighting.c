#include "native.h"
int cc_placeholder(void) { return 1; }
