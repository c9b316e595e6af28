#!/usr/bin/env perl
#
# What of nginx's style can be checked line by line, in the files that are
# named: 80 columns, blanks, comments, keywords, aligned declarations, lower-case
# log messages, functions of 80 lines.

use strict;
use warnings;

my $bad = 0;

die "no files\n" if !@ARGV;

for my $file (@ARGV) {
    open my $in, '<', $file or die "$file: $!\n";
    my @lines = <$in>;
    my (@block, $function);

    chomp @lines;
    complain($file, 0, 'does not begin with an empty line') if $lines[0] ne '';
    complain($file, 0, 'has no header comment') if $lines[1] ne '/*';

    for my $i (0 .. $#lines) {
        my $line = $lines[$i];
        my $n = $i + 1;

        complain($file, $n, 'is longer than 80 columns') if length $line > 80;
        complain($file, $n, 'ends with blanks') if $line =~ /\s$/;
        complain($file, $n, 'has a tab') if $line =~ /\t/;
        complain($file, $n, 'has a comment with //') if $line =~ m{(?:^|\s)//};
        complain($file, $n, 'has a keyword without a blank behind it')
            if $line =~ /^\s*(?:\}\s*else\s+)?(?:if|for|while|switch)\(/;
        complain($file, $n, 'compares a constant first') if $line =~ /\b(?:NULL|NGX_OK|NGX_ERROR) [!=]= /;
        complain($file, $n, 'has a cast without a blank')
            if $line =~ /\((?:u_char|char|void|ngx_\w+_t) \*+\)\w/;

        # from the line of its name, without that of its type
        $function = $n if $line =~ /^\w+\(/;

        if ($line eq '}' && defined $function) {
            complain($file, $function, 'begins a function of more than 80 lines')
                if $n - $function >= 80;
            undef $function;
        }

        # log messages begin in lower case, but for names
        if ($line =~ /ngx_(?:conf_)?log_error\(/) {
            my $text = join ' ', @lines[$i .. ($i + 3 > $#lines ? $#lines : $i + 3)];

            complain($file, $n, 'has a log message that begins with a capital')
                if $text =~ /^[^;]*?log_error\([^"]*"[A-Z][a-z]/;
            complain($file, $n, 'has a log message that ends with a stop')
                if $text =~ /^[^;]*?log_error\([^"]*"[^"]*\.\"\s*[,)]/;
        }

        # declarations of one block: names in one column
        if ($line =~ /^    (?:static )?(?:const )?(?:struct )?\w+(?: \w+)?( +\**)\w[^(]*;$/
            && $line !~ /^    (?:return|goto|break|continue|case)\b/
            && $line =~ /^    (?:\w+_t|u_char|char|int|size_t|ssize_t|double|void|unsigned|struct \w+|static.*|const .*|EVP_MD_CTX|uint\d+_t|int\d+_t)\s/)
        {
            my ($head) = $line =~ s/\[[^]]*\]//gr =~ /^(.*?\s\**)\w+(?:,|;| =)/;

            push @block, [$n, length(($head // '') =~ s/\*+$//r) + length(($head // '') =~ /(\*+)$/ ? $1 : '')]
                if defined $head;
            next;
        }

        check_block($file, @block);
        @block = ();
    }

    close $in;
}

exit($bad ? 1 : 0);


# The names of a block of declarations stand in one column.
sub check_block {
    my ($file, @block) = @_;

    return if @block < 2;

    my %columns = map { $_->[1] => 1 } @block;

    complain($file, $block[0][0], 'begins declarations whose names are not aligned')
        if keys %columns > 1;
    return;
}


sub complain {
    my ($file, $n, $what) = @_;

    print "$file:$n: $what\n";
    $bad++;
    return;
}
