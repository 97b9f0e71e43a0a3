"""Result 4: a trained mechanism, frozen, given to fresh learners that it has never seen (spec 1, 7.20)."""
