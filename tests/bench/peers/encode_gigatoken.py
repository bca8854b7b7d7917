"""gigatoken: ids of every document of a text file, `<|endoftext|>` between them.

encode_gigatoken.py tokenizer.json stories.txt: prints how many documents and tokens.
"""
import json
import sys

import awkward as ak
import gigatoken

tokenizer = gigatoken.Tokenizer(sys.argv[1])
source = gigatoken.TextFileSource([sys.argv[2]], separator="<|endoftext|>")
ids = tokenizer.encode_files(source)
print(json.dumps({"stories": len(ids), "tokens": int(ak.count(ids))}))
