# The module's sources give no warning, with gcc and with clang.

use strict;
use warnings;

use lib 't/lib';
use File::Basename qw(basename);
use Test::More;
use Token::Util qw($MODULE configured sources work_dir);

my ($tree, $includes) = configured();

plan(skip_all => "no configured nginx beside $MODULE") if !$tree;

my @sources = sources();
my $dir = work_dir();

plan(tests => 4 * @sources);

# nginx's callbacks have more parameters than each of them uses.
my @flags = qw(-Wall -Wextra -Werror -Wno-unused-parameter -c);

# gcc finds some things only when it optimizes, clang nothing more
my %more = (gcc => '-O2', clang => '-fsyntax-only');

for my $compiler (qw(gcc clang)) {
    SKIP: {
        skip("no $compiler", 2 * @sources)
            if system("$compiler --version > /dev/null 2>&1");

        for my $source (@sources) {
            my $name = basename($source);
            my $output = `cd '$tree' && $compiler @flags $more{$compiler} $includes -o '$dir/$name.o' '$source' 2>&1`;

            is($?, 0, "$compiler: $name compiles");
            is($output, '', "$compiler: $name gives no warning");
        }
    }
}
