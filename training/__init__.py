"""How the built-in model is made. Not part of the distribution: it needs `transformers`, which serving does not.

    python -m training.builtin --minutes 90 --seed 0 --out FOLDER     goes on where an interrupted run stopped
    python -m training.card FOLDER --machine TEXT                     measures it and writes its card

What is asked comes from `penstock_loadgen.questions`, which `penstock eval` asks, too. On the way to the model:

    curriculum   which dialogue is drawn when            pixels     pictures as patches
    examples     dialogues as tokens and positions       batches    examples as padded tensors
    model        what is trained, and its files          tokenizer  its tokenizer and chat template
    loop         steps, interruptions, learning rate     loss       on answers alone
    muon         the optimizer of matrices               peers      processes that share each step
    evaluate     what it would answer                    card       what is said about it
"""
