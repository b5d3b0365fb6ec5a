from hotpath._tokens_py import Tokens as Tokens
