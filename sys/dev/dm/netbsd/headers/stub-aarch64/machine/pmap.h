#pragma once
/* Translation tables are none of ours. */
struct pmap;
