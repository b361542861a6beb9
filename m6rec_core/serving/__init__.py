"""Stage 11: task packs on their backbone, ready to answer; what commands of plugins build on."""
