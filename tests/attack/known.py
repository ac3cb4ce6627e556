"""The attacks, with what a run of each takes; `make test-slow` tries as many seeds, in two minutes for all."""

from attack.harness import Attack

ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("arrays", "scores", seeds=40),
        Attack("hostile", "features", seeds=10, needs=("ase",)),
        Attack("saving", "crowds", seeds=6, needs=("ase",)),
        Attack("sharing", "threads", seeds=10),
        Attack("sharing", "pools", seeds=4),
        Attack("interrupts", "answers", seeds=10),
    )
}
