//! Every metric's name, unit, labels and help text; nothing here measures.
