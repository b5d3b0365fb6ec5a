from hotpath._risk_py import Table as Table
