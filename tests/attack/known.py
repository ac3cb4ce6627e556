"""The attacks, with what a run of each takes; `make test-slow` tries as many seeds, in two minutes for all."""

from attack.harness import Attack

ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("arrays", "updates", seeds=60),
        Attack("arrays", "scores", seeds=40),
        Attack("hostile", "objects", seeds=20),
        Attack("hostile", "features", seeds=10, needs=("ase",)),
        Attack("saving", "kills", seeds=6, needs=("ase",)),
        Attack("saving", "full_disk", seeds=6, needs=("ase",)),
        Attack("saving", "crowds", seeds=6, needs=("ase",)),
        Attack("sharing", "threads", seeds=10),
        Attack("sharing", "forks", seeds=4),
        Attack("sharing", "pools", seeds=4),
        Attack("sharing", "little_memory", seeds=5),
        Attack("interrupts", "changes", seeds=12),
        Attack("interrupts", "answers", seeds=10),
        Attack("interrupts", "files", seeds=4),
        Attack("interrupts", "descriptors", seeds=4, needs=("ase", "featomic")),
        Attack("interrupts", "exits", seeds=4),
        Attack("life", "examples", seeds=8, patience=400.0),
    )
}
