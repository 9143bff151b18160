"""How drawings and tables of a sweep look, on light and on dark pages."""

STYLE = """\
:root { --v0: #e09a50; --v1: #d79a69; --v2: #c99880; --v3: #b59297;
  --v4: #998cab; --v5: #7a82b8; --v6: #5576ba; --v7: #2f67b0; --v8: #08519c;
  --none: #8a8f8c; --axis: #4b5753; --ground: #ffffff; --letters: #1b2421;
  --up: #08519c; --down: #a8500f; --bar: #5576ba; --trough: #dbe1de; }
@media (prefers-color-scheme: dark) {
  :root { --v0: #8f5a2a; --v1: #936544; --v2: #94705c; --v3: #907a75;
    --v4: #88838f; --v5: #8190ac; --v6: #7c9fcb; --v7: #7fb4e8; --v8: #92ccff;
    --none: #79827e; --axis: #a9b7b1; --ground: #1a211e; --letters: #e4ebe8;
    --up: #92ccff; --down: #f0a564; --bar: #7c9fcb; --trough: #2f3a36; }
}
.v0 { --way: var(--v0); } .v1 { --way: var(--v1); } .v2 { --way: var(--v2); } .v3 { --way: var(--v3); } .v4 { --way: var(--v4); }
.v5 { --way: var(--v5); } .v6 { --way: var(--v6); } .v7 { --way: var(--v7); } .v8 { --way: var(--v8); } .none { --way: var(--none); }
.s0 { fill: var(--v0); } .s1 { fill: var(--v1); } .s2 { fill: var(--v2); } .s3 { fill: var(--v3); } .s4 { fill: var(--v4); }
.s5 { fill: var(--v5); } .s6 { fill: var(--v6); } .s7 { fill: var(--v7); } .s8 { fill: var(--v8); }
.drawing { overflow-x: auto; background: var(--ground); border: 1px solid #8885; border-radius: 8px; }
.drawing svg { display: block; margin: 0 auto; }
.drawing text { font: 11.5px system-ui, "DejaVu Sans", sans-serif; fill: var(--letters); font-variant-numeric: tabular-nums; }
.drawing text.title { font-weight: 600; font-size: 12.5px; }
.drawing text.label { paint-order: stroke; stroke: var(--ground); stroke-width: 4px; stroke-linejoin: round; }
.drawing .axis { stroke: var(--axis); stroke-width: 1; }
.drawing .grid { stroke: var(--trough); stroke-width: 1; }
.drawing .slot { fill: var(--ground); stroke: var(--axis); }
.trial path, .trial .dot { fill: none; vector-effect: non-scaling-stroke; }
.trial .way { stroke: var(--way); stroke-width: 1.3; stroke-opacity: .75; }
.trial .near { stroke: transparent; stroke-width: 7; pointer-events: stroke; }
.trial.stopped .way { stroke-dasharray: 6 4; }
.trial.none .way { stroke-dasharray: 2 4; }
.trial.best .way { stroke: var(--letters); stroke-width: 3.2; stroke-opacity: 1; }
.trial.best .halo { stroke: var(--ground); stroke-width: 6.5; }
.trial:hover .way, .trial:focus .way { stroke: var(--letters); stroke-width: 3; stroke-opacity: 1; }
.dot { fill: var(--way); stroke: var(--ground); stroke-width: 1; }
.trial .dot { fill: var(--way); }
.trial.stopped .dot { fill: var(--ground); stroke: var(--way); stroke-width: 2; }
.trial .cross { stroke: var(--none); stroke-width: 1.8; }
.trial.best .dot { stroke: var(--letters); stroke-width: 2.5; }
.trial:hover .dot { stroke: var(--letters); stroke-width: 2.5; }
.so-far { fill: none; stroke: var(--letters); stroke-width: 1.6; }
.bars { border-collapse: collapse; }
.bars svg { display: inline-block; vertical-align: -3px; margin-right: .6rem; }
.bars .trough { fill: var(--trough); }
.bars .bar { fill: var(--bar); }
.bars .bar.other { fill: none; stroke: var(--bar); stroke-width: 1.6; }
.bars .between { stroke: var(--letters); stroke-width: 1.4; }
.bars .zero { stroke: var(--axis); }
.bars .up { fill: var(--up); }
.bars .down { fill: var(--down); }
.bars td, .bars th { vertical-align: middle; }
.bars .category th { font-weight: 400; padding-left: 1.6rem; }
.bars td, .bars tbody th { white-space: nowrap; }
.bars .value { font-variant-numeric: tabular-nums; }
.key-line { display: inline-block; width: 2.2rem; border-top: 3px solid var(--letters); vertical-align: middle; }
.key-line.dashed { border-top: 2px dashed var(--v5); }
.key-line.dotted { border-top: 2px dotted var(--none); }
.many { max-height: 44rem; overflow: auto; border: 1px solid #8885; border-radius: 8px; background: var(--ground); }
.trials { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .9rem; }
.trials th, .trials td { padding: .4rem .7rem; border-bottom: 1px solid #8883; white-space: nowrap; text-align: left; }
.trials thead th { position: sticky; top: 0; background: var(--ground); }
.trials .quiet { white-space: normal; }
.trials tr.best > * { font-weight: 650; }
"""
